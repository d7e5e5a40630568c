"""The commands of running it every day: state of trading, watching, telling, keeping safe."""

from trading.terminal import KoreanTyper

app = KoreanTyper()
