"""Names that moved; gone once no module asks for them."""

from trading.wire.overseas_account import *  # noqa: F403
from trading.wire.overseas_bars import *  # noqa: F403
from trading.wire.overseas_codes import *  # noqa: F403
from trading.wire.overseas_lists import *  # noqa: F403
from trading.wire.overseas_orders import *  # noqa: F403
from trading.wire.overseas_quotes import *  # noqa: F403
