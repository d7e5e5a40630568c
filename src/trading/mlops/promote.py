"""Which model trades: the aliases in the registry, and the files that the live path reads.

``data/models/<market>/<family>/<version>/`` holds a model's files, ``champion.json`` beside them
names the version that trades. Reading them needs no MLflow. What a challenger must show is in
``gate``, how it comes to be in ``retrain``.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trading.domain.instrument import Market
from trading.domain.wording import model_text
from trading.errors import ModelError
from trading.features.pipeline import FeatureSettings, fingerprint
from trading.log import get_logger
from trading.mlops import tracking
from trading.mlops.tracking import CHALLENGER, CHAMPION, PREVIOUS, MlflowRegistry, Version
from trading.mlops.train import FAMILIES, model_name
from trading.models.base import ModelCard
from trading.models.inference import FITTED, TrainedModel, load

if TYPE_CHECKING:
    from trading.config import Home

log = get_logger(__name__)

OTHER_FEATURES = "지금 설정의 특성으로 배운 모델이 아님"

_POINTER = "champion.json"
# Before there were families, the forest's files lay one folder higher.
_FIRST_FAMILY = "forest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of who trades, with the gate's word on the newcomer.

    ``refused`` says in Korean why the change did not happen; ``previous`` trades on then.
    """

    market: str
    family: str
    version: int
    previous: int | None
    verdict: str
    reason: str
    refused: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def champions(home: "Home", market: Market) -> dict[str, int]:
    """Return the version that trades, of each family that has one."""
    found = {family: champion_version(home, market, family) for family in FITTED}
    return {family: version for family, version in found.items() if version is not None}


def load_champions(
    home: "Home", market: Market, features: FeatureSettings
) -> tuple[dict[str, TrainedModel], dict[str, int], dict[str, str]]:
    """Return the models that vote by family, their versions, and why others cannot, in Korean.

    The versions are those that were loaded: who trades may change at any time. A damaged model,
    or one of other features, abstains: the day goes on.
    """
    models: dict[str, TrainedModel] = {}
    versions: dict[str, int] = {}
    silent: dict[str, str] = {}
    for family in FITTED:
        try:
            version = champion_version(home, market, family)
            if version is None:
                continue
            model = load_version(home, market, family, version)
        except ModelError as error:
            silent[family] = str(error)
            continue
        if model.card.feature_fingerprint != fingerprint(features):
            silent[family] = OTHER_FEATURES
        else:
            models[family], versions[family] = model, version
    return models, versions, silent


def champion_version(home: "Home", market: Market, family: str) -> int | None:
    """Return the version of ``family`` that trades; ``None`` when there is none.

    Raises
    ------
    ModelError
        If the record of it cannot be read.
    """
    pointer = family_dir(home, market, family) / _POINTER
    if not pointer.exists():
        return None
    try:
        return int(json.loads(pointer.read_text())["version"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"챔피언 기록을 읽을 수 없음: {pointer}") from error


def load_champion(home: "Home", market: Market, family: str) -> TrainedModel | None:
    """Return the model of ``family`` that trades, verified by hash; ``None`` when there is none.

    Raises
    ------
    ModelError
        If its files are not what was promoted.
    """
    version = champion_version(home, market, family)
    return load_version(home, market, family, version) if version is not None else None


def load_version(home: "Home", market: Market, family: str, version: int) -> TrainedModel:
    """Return a model that has been champion, for recomputing the sessions it traded."""
    return load(family_dir(home, market, family) / str(version))


def family_dir(home: "Home", market: Market, family: str) -> Path:
    """Return where the models of a family are kept; an older layout is moved there first."""
    market_dir = home.data_dir / "models" / market.value
    folder = market_dir / family
    if family == _FIRST_FAMILY and (market_dir / _POINTER).exists():
        _move_former(market_dir, folder)
    return folder


def _move_former(market_dir: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    former = [path for path in market_dir.iterdir() if path.name.isdigit()]
    # The pointer last: who is stopped on the way begins here again.
    for path in (*former, market_dir / "latest.json", market_dir / _POINTER):
        # Another process may have moved it meanwhile.
        with suppress(FileNotFoundError):
            path.replace(folder / path.name)
    log.info("예전 모델 폴더를 계열별로 옮김", path=str(folder))


def usable(card: ModelCard, features: FeatureSettings, until: date) -> str | None:
    """Return why a model cannot be asked on the evening of ``until``; ``None`` when it can.

    One that was taught other features, or has seen later prices (an account begun anew at an
    earlier date), holds no place.
    """
    if card.feature_fingerprint != fingerprint(features):
        return OTHER_FEATURES
    if card.trained_through > until:
        return f"{until} 뒤의 가격을 본 모델 ({card.trained_through}까지 배움)"
    return None


def install(home: "Home", registry: MlflowRegistry, version: int, name: str) -> TrainedModel:
    """Let a registered version trade, and return it.

    The files first, then the aliases, then the pointer: until then the old model trades.

    Raises
    ------
    ModelError
        If its files are missing or not what was registered; nothing has changed then.
    """
    family, market = name.rsplit("-", 1)
    folder = family_dir(home, Market(market), family)
    target, temporary = folder / str(version), folder / f".{version}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        registry.fetch(name, version, temporary)
        model = load(temporary)
        if model.card.name != name:
            raise ModelError(f"다른 모델의 파일임: {name} {version}판 자리에 {model.card.name}")
        shutil.rmtree(target, ignore_errors=True)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    # The alias may have been moved already, by hand or before a crash: the files know who traded.
    before = _trading(home, Market(market), family)
    if before is not None and before != version and registry.has(name, before):
        registry.set_alias(name, PREVIOUS, before)
    registry.set_alias(name, CHAMPION, version)
    if registry.version_of(name, CHALLENGER) == version:
        registry.remove_alias(name, CHALLENGER)
    write_json(folder / _POINTER, {"name": name, "version": version,
                                   "fingerprint": model.fingerprint})  # fmt: skip
    return model


def promote(
    home: "Home", market: Market, family: str, version: int, *, without_proof: bool = False
) -> Move:
    """Let a registered version trade because the operator says so.

    Raises
    ------
    ModelError
        If there is none, its files are damaged, or the gate has not proven it and
        ``without_proof`` is not set; the champion stays.
    """
    registry, name = _registry(home), model_name(family, market.value)
    found = registry.version(name, version)
    if not is_proven(found) and not without_proof:
        raise ModelError(f"증명되지 않은 모델: {name} {version}판 ({found.tags.get('reason', '')})")
    how = "운영자가 승격" if is_proven(found) else "운영자가 증명 없이 승격"
    return _moved(home, registry, market, family, found, how)


def rollback(
    home: "Home", market: Market, family: str, *, reason: str = "운영자가 이전 모델로 되돌림"
) -> Move:
    """Let the previous champion of a family trade again.

    Raises
    ------
    ModelError
        If there is no previous one.
    """
    registry, name = _registry(home), model_name(family, market.value)
    version = registry.version_of(name, PREVIOUS)
    if version is None:
        raise ModelError(f"되돌릴 이전 모델이 없음: {name}")
    return _moved(home, registry, market, family, registry.version(name, version), reason)


def demote(home: "Home", market: Market, family: str, *, reason: str) -> int | None:
    """Let nobody of a family trade: it abstains until a model passes. Return who did.

    A registry that cannot be written is told and changes nothing of that.
    """
    version = champion_version(home, market, family)
    (family_dir(home, market, family) / _POINTER).unlink(missing_ok=True)
    name = model_name(family, market.value)
    try:
        registry = _registry(home)
        current = registry.version_of(name, CHAMPION)
        if current is not None:
            registry.remove_alias(name, CHAMPION)
            registry.tag(name, current, {"moved": reason})
    except ModelError as error:
        log.error("강등을 모델 등록소에 적지 못함", model=name, reason=str(error))
    log.warning("모델 강등", market=str(market), family=family, version=version, reason=reason)
    return version


def follow_registry(
    home: "Home", market: Market, features: FeatureSettings, until: date
) -> list[Move]:
    """Let those trade whom the registry calls champion, and return what has changed.

    Whoever moves the alias in MLflow's pages is heard here. A version that cannot trade is
    refused: the champion stays, and has its alias back. A champion whose files are damaged is
    fetched again.
    """
    known = tracking.aliases(home.mlruns_dir)
    moves = []
    for family in FITTED:
        name = model_name(family, market.value)
        if known is None:
            wanted = _registry(home).version_of(name, CHAMPION)
        else:
            wanted = known.get(name, {}).get(CHAMPION)
        if wanted is None:
            continue
        try:
            current = champion_version(home, market, family)
            if current is not None:
                load_version(home, market, family, current)
            is_whole = True
        except ModelError as error:
            log.error("챔피언 파일이 손상됨, 등록소에서 다시 가져옴", reason=str(error))
            current, is_whole = None, False
        if wanted == current:
            continue
        registry = _registry(home)
        found = registry.version(name, wanted)
        refused = _refusal(registry, found, features, until)
        if refused is None:
            moves.append(_moved(home, registry, market, family, found, "등록소의 별칭을 따름"))
        elif current is not None:
            registry.set_alias(name, CHAMPION, current)
            moves.append(_move(market, family, found, current, refused))
            log.error("별칭을 옮긴 모델을 쓸 수 없어 챔피언 유지", family=family, version=wanted,
                      champion=current, reason=refused, told=True)  # fmt: skip
        elif not is_whole:
            moves.append(_move(market, family, found, None, refused))
    return moves


def list_models(home: "Home", market: Market) -> list[dict[str, Any]]:
    """Return every registered version with its aliases and verdict, for ``trading models``."""
    if not tracking.exists(home.mlruns_dir):
        return []
    registry, trading = _registry(home), champions(home, market)
    return [
        describe(item, family) | {"trades": trading.get(family) == item.version}
        for family in FAMILIES
        for item in registry.versions(model_name(family, market.value))
    ]


def find_model(home: "Home", market: Market, family: str, version: int) -> dict[str, Any]:
    """Return one registered version as ``list_models`` does; ``ModelError`` when there is none."""
    if not tracking.exists(home.mlruns_dir):
        raise ModelError(f"등록된 모델이 없음: {model_name(family, market.value)}")
    return describe(_registry(home).version(model_name(family, market.value), version), family)


def describe(item: Version, family: str) -> dict[str, Any]:
    """Return what people want to know of a registered version, as JSON values."""
    tags = item.tags
    return {
        "name": item.name,
        "family": family,
        "version": item.version,
        "aliases": list(item.aliases),
        "verdict": tags.get("verdict", ""),
        "proven": is_proven(item),
        "reason": tags.get("reason", ""),
        "moved": tags.get("moved", ""),
        "trained_through": tags.get("trained_through", ""),
        "rank_ic": float(tags.get("rank_ic", "nan")),
        "rank_ic_t": float(tags.get("rank_ic_t", "nan")),
        "page": tags.get("page", ""),
    }


def is_proven(item: Version) -> bool:
    """Whether the gate was passed; before it said so in a tag, its verdict was the word."""
    return item.tags.get("proven", str(item.tags.get("verdict") == "promoted")) == "True"


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Write a file that is whole or not there, durable on return."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(body, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _registry(home: "Home") -> MlflowRegistry:
    return MlflowRegistry(home.mlruns_dir)


def _trading(home: "Home", market: Market, family: str) -> int | None:
    """Return who trades; ``None`` where nobody can tell."""
    with suppress(ModelError):
        return champion_version(home, market, family)
    return None


def _refusal(
    registry: MlflowRegistry, found: Version, features: FeatureSettings, until: date
) -> str | None:
    try:
        return usable(registry.load_version(found.name, found.version).card, features, until)
    except ModelError as error:
        return str(error)


def _moved(
    home: "Home", registry: MlflowRegistry, market: Market, family: str, found: Version, how: str
) -> Move:
    before = _trading(home, market, family)
    install(home, registry, found.version, found.name)
    registry.tag(found.name, found.version, {"moved": how})
    move = _move(market, family, found, before, None)
    log.warning("모델 교체", model=model_text(family), market=str(market), version=move.version,
                previous=before, how=how, verdict=move.verdict, reason=move.reason)  # fmt: skip
    return move


def _move(
    market: Market, family: str, found: Version, before: int | None, refused: str | None
) -> Move:
    return Move(
        market=market.value,
        family=family,
        version=found.version,
        previous=before,
        verdict=found.tags.get("verdict", ""),
        reason=found.tags.get("reason", ""),
        refused=refused,
    )
