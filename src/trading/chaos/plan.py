"""What a seed plays: which days, which wishes, whose death and which faults. All drawn from its number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from trading import bootstrap
from trading.chaos.points import Kill, Party, Point
from trading.chaos.world import World
from trading.domain.instrument import Market
from trading.exchange.faults import KINDS, Fault, FaultSchedule, Kind, Stage
from trading.execution.decide import Policy
from trading.strategies.base import Evaluation
from trading.wire.endpoints import Generation, Profile

# Faults that need something of the plan: the generation of order ids that is refused, a request
# that waits, and pages so small that there is another.
ORDER_IDS, LATE, SMALL_PAGE, CONTINUATION = 21, "1/late", "7/small_page", "continuation"
SMALL_PAGES = 5

LONGEST = 4
# A session of one-minute bars has hundreds of instants: a few seeds have one.
MINUTE_SHARE = 0.02
PAPER_SHARE, OLD_SHARE, CURIOUS_SHARE = 0.3, 0.3, 0.4
# A request that the exchange begins to look at when the client has long given up; see ``trader``.
LATE_SECONDS = 0.5
# Longer than an answer is waited for, and than an absent order is asked for.
LONGEST_FREEZE = 0.8
_SALT = 20261120
_BOTH = (Party.CLIENT, Party.EXCHANGE)
# Most kills strike early passings, where orders are on their way; a day has few of them.
_LATEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """After some wall seconds a process dies wherever it is, or stands still for a while."""

    after_seconds: float
    party: Party
    frozen_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """One seed.

    ``is_curious``: the client asks for bars, holidays and indices before it trades.
    ``mishaps`` come in this order.
    """

    world: World
    profile: Profile
    order_ids: Generation
    is_curious: bool
    sessions: tuple[date, ...]
    cash: int
    participation_bps: int
    policy: Policy
    evaluation: Evaluation
    faults: FaultSchedule
    kills: tuple[Kill, ...]
    mishaps: tuple[Mishap, ...]


def draw(worlds: Sequence[World], seed: int) -> Plan:
    """Return the plan of ``seed``: the same for the same recorded markets."""
    rng = np.random.default_rng([_SALT, seed])
    world = worlds[int(rng.integers(len(worlds)))]
    sessions = _sessions(world, rng)
    rows = [world.raw.row_of(session) for session in sessions]
    profile = Profile.PAPER if rng.random() < PAPER_SHARE else Profile.REAL
    order_ids = Generation.OLD if rng.random() < OLD_SHARE else Generation.NEW
    faults = _faults(world, order_ids, seed, rng)
    wealth = int(rng.choice([1, 50, 50]))
    return Plan(
        world=world,
        profile=profile,
        order_ids=order_ids,
        is_curious=bool(rng.random() < CURIOUS_SHARE),
        sessions=sessions,
        cash=wealth * world.installation.settings.app.demo.cash_minor(world.market),
        participation_bps=int(rng.choice([1, 1, 20, 1000])),
        policy=_policy(world, rng),
        evaluation=_wishes(world, rows, rng),
        faults=faults,
        kills=_kills(seed, rng),
        mishaps=_mishaps(rng),
    )


def _sessions(world: World, rng: np.random.Generator) -> tuple[date, ...]:
    """Return some sessions in a row, or now and then a single one with intraday bars."""
    if world.minutes and rng.random() < MINUTE_SHARE:
        return (world.minutes[int(rng.integers(len(world.minutes)))],)
    length = int(rng.integers(2, LONGEST + 1))
    first = int(rng.integers(len(world.daily) - length))
    return world.daily[first : first + length]


def _policy(world: World, rng: np.random.Generator) -> Policy:
    """Return the shipped policy with thresholds at which every day has orders, stops and cancels."""
    policy = bootstrap.policy_of(world.installation.settings, world.market, world.calendar)
    return replace(
        policy,
        allocation=policy.allocation.model_copy(
            update={
                "resize": "daily",
                "no_trade_band": 0.001,
                "sizing": policy.allocation.sizing.model_copy(
                    update={"volatility_target": float(rng.choice([0.03, 0.1]))}
                ),
                "ensemble": policy.allocation.ensemble.model_copy(
                    update={"max_entry_var": 1.0, "regime_action": "off"}
                ),
            }
        ),
        exits=policy.exits.model_copy(
            update={
                "stop_loss": float(rng.choice([0.002, 0.01, 0.05])),
                "take_profit": _maybe(rng, 0.004),
                "cooldown_sessions": 0,
            }
        ),
        risk=policy.risk.model_copy(
            update={
                "max_daily_loss": float(rng.choice([0.0005, 0.03])),
                "max_drawdown": 0.9,
                "max_portfolio_var": 0.2,
            }
        ),
    )


def _maybe(rng: np.random.Generator, value: float) -> float | None:
    return value if rng.random() < 0.5 else None


def _wishes(world: World, rows: Sequence[int], rng: np.random.Generator) -> Evaluation:
    """Return votes that change from day to day: wishes are drawn, prices never are."""
    evaluation = world.evaluation
    votes = evaluation.votes.copy()
    agents, names = votes.shape[1:]
    for row in rows:
        votes[row - 1] = np.where(rng.random(names) < 0.7, 1.0, -1.0)[None, :].repeat(agents, 0)
    return replace(
        evaluation,
        votes=votes,
        confidence=np.full_like(evaluation.confidence, 0.9),
        screened=np.ones_like(evaluation.screened),
        volatility=np.nan_to_num(evaluation.volatility, nan=0.02),
    )


def _faults(
    world: World, order_ids: Generation, seed: int, rng: np.random.Generator
) -> FaultSchedule:
    """Return this seed's faults: the numbers in turn first, then some at random."""
    drawn: dict[int, list[Kind]] = {}
    for kind in KINDS.values():
        if _can_happen(kind, world.market, order_ids):
            drawn.setdefault(kind.number, []).append(kind)
    numbers = sorted(drawn)
    chosen = [numbers[seed % len(numbers)]]
    chosen += [numbers[int(k)] for k in rng.integers(len(numbers), size=int(rng.integers(1, 4)))]
    faults = []
    for number in dict.fromkeys(chosen):
        kind = drawn[number][int(rng.integers(len(drawn[number])))]
        if kind.calls == CONTINUATION:
            # A second page is asked for only where the first was too small.
            faults.append(Fault(kind=KINDS[SMALL_PAGE], count=SMALL_PAGES))
        options = {"seconds": LATE_SECONDS} if kind.name == LATE else {}
        nth = 1 + int(rng.integers(max(1, kind.span)))
        # One that would last for good is cut short, or there would be nothing left to compare.
        faults.append(Fault(kind=kind, nth=nth, count=kind.count or 1, options=options))
    return FaultSchedule(f"chaos:{seed}", tuple(faults))


def _can_happen(kind: Kind, market: Market, order_ids: Generation) -> bool:
    if kind.stage is Stage.OBSERVED or kind.market not in (None, market):
        return False
    # Order ids of the other generation are refused to nobody.
    unasked = "old_refused" if order_ids is Generation.NEW or market is Market.US else "new_refused"
    return not (kind.number == ORDER_IDS and kind.variant == unasked)


def _kills(seed: int, rng: np.random.Generator) -> tuple[Kill, ...]:
    """Return this seed's deaths: the boundaries in turn first, then some at random."""
    points = tuple(Point)
    turn = points[seed % len(points)]
    chosen = [Kill(point=turn, nth=int(rng.integers(1, 3)), victims=_victims(rng))]
    for _ in range(int(rng.integers(1, 4))):
        point = points[int(rng.integers(len(points)))]
        nth = int(rng.integers(1, _LATEST + 1))
        chosen.append(Kill(point=point, nth=nth, victims=_victims(rng)))
    return tuple(chosen)


def _victims(rng: np.random.Generator) -> tuple[Party, ...]:
    options: tuple[tuple[Party, ...], ...] = ((Party.CLIENT,), (Party.EXCHANGE,), _BOTH)
    return options[int(rng.choice(3, p=[0.45, 0.4, 0.15]))]


def _mishaps(rng: np.random.Generator) -> tuple[Mishap, ...]:
    parties = tuple(Party)
    found = [
        Mishap(
            after_seconds=float(rng.uniform(0.05, 1.0)),
            party=parties[int(rng.integers(len(parties)))],
            frozen_seconds=float(rng.uniform(0.1, LONGEST_FREEZE)) if rng.random() < 0.5 else None,
        )
        for _ in range(int(rng.integers(0, 3)))
    ]
    return tuple(sorted(found, key=lambda one: one.after_seconds))
