"""What faults do to the frames of one connection."""

from collections.abc import Callable, Mapping

from trading.clock import WallClock
from trading.domain.instrument import Market
from trading.exchange.faults import Injector, Stage
from trading.exchange.venue import Venue
from trading.wire import stream

Keys = Mapping[str, tuple[str, str]]


class Line:
    """The way out to one client; frames leave it late, twice, changed or not at all.

    Only what has really left is counted as sent: in lock-step nobody waits for a held frame.
    ``cut`` ends the connection (``True``: without a goodbye); ``forget`` drops its registrations.
    """

    def __init__(
        self, injector: Injector, cut: Callable[[bool], None], forget: Callable[[], None]
    ) -> None:
        self._injector = injector
        self._cut = cut
        self._forget = forget
        self._is_silent = False
        # Records waiting to leave as one frame, and whole frames with the instants they wait.
        self._bundle: list[stream.Frame] = []
        self._held: list[tuple[int, str]] = []
        self._wall = WallClock()

    def pass_on(self, text: str, keys: Keys, venue: Venue) -> list[str]:
        """Return the texts that leave now in place of ``text``."""
        if self._is_silent:
            return []
        if self._injector.is_idle and not self._bundle:
            return [text]
        if not stream.is_data(text):
            return [*self._unbundle(keys), text]
        frame = stream.parse_frame(text)
        if self._bundle and self._bundle[0].tr_id == frame.tr_id:
            self._bundle.append(frame)
            return []
        return [*self._unbundle(keys), *self._struck(frame, text, keys, venue)]

    def settle(self, keys: Keys) -> list[str]:
        """Return what an instant leaves behind, and what waited for its end."""
        due = [text for instants, text in self._held if instants <= 0]
        self._held = [(instants - 1, text) for instants, text in self._held if instants > 0]
        return [*self._unbundle(keys), *due] if not self._is_silent else []

    def _struck(self, frame: stream.Frame, text: str, keys: Keys, venue: Venue) -> list[str]:
        is_notice = frame.tr_id in stream.NOTICE_TRS
        stage = Stage.NOTICE if is_notice else Stage.TRADE
        symbol = "" if is_notice else _symbol(frame)
        fault = self._injector.on(stage, symbol=symbol, session=venue.session, now=venue.now)
        match fault.kind.variant if fault is not None else "":
            case "dropped":
                return []
            case "twice":
                return [text, text]
            case "ping":
                return [stream.ping_message(self._wall.now()), text]
            case "reordered":
                self._held.append((0, text))
                return []
            case "delayed":
                self._held.append((1, text))
                return []
            case "merged" | "merged_notices":
                self._bundle = [frame]
                return []
            case "stall" | "disconnect" | "close" as how:
                self._is_silent = True
                if how != "stall":
                    self._cut(how == "disconnect")
                return []
            case "lost_registrations":
                self._forget()
                return []
            case "miscounted":
                return [f"{text[:2]}{frame.tr_id}|{frame.count + 1:03d}|{frame.payload}"]
            case "malformed":
                return [_rewritten(frame, "^".join(frame.payload.split("^")[:5]))]
            case "garbled":
                return [_rewritten(frame, frame.payload[::-1])]
            case "appended" | "appended_frame":
                assert fault is not None
                more = "^0" * fault.option("fields")
                return [_sealed([frame], keys, more)]
            case _:
                return [text]

    def _unbundle(self, keys: Keys) -> list[str]:
        if not self._bundle:
            return []
        frames, self._bundle = self._bundle, []
        return [_sealed(frames, keys)]


def _sealed(frames: list[stream.Frame], keys: Keys, more: str = "") -> str:
    """Return the records of ``frames`` as one frame, encrypted as they were."""
    tr_id = frames[0].tr_id
    iv, secret = keys[tr_id] if frames[0].encrypted else ("", "")
    records = [
        (stream.decrypt(frame.payload, iv=iv, secret=secret) if secret else frame.payload) + more
        for frame in frames
    ]
    return stream.frame_message(tr_id, records, iv=iv, secret=secret)


def _rewritten(frame: stream.Frame, payload: str) -> str:
    return f"{int(frame.encrypted)}|{frame.tr_id}|{frame.count:03d}|{payload}"


def _symbol(frame: stream.Frame) -> str:
    fields = frame.payload.split("^", 2)
    # The Korean record begins with the symbol, the US one with its key.
    return fields[1 if frame.tr_id == stream.TRADE_TR[Market.US] else 0]
