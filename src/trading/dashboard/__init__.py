"""The dashboard: pages in Korean over what the program wrote, in a browser on this machine.

``server`` starts it, ``app`` is its entry, one module makes one page, ``data`` reads. Nothing here
writes but the operator's word, which ``controls`` hands to ``live.control``.
"""
