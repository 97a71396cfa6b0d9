"""The parts of a server that speaks IAMPASS's protocol: requests, replies, signatures, and the https server itself.

`messages.py` and `signatures.py` do no I/O. `http.py` serves with aiohttp, in the event loop that calls it. Secrets,
nonces and clocks are passed in.
"""
