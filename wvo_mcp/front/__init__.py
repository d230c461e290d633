"""The instant front: the client is answered while the application is still being imported.

Clients take their first turn about a second after they started us. So a reader thread answers the handshake and the lists
from a recorded snapshot and keeps everything else in order, until the application serves what waits. Only small parts of
the standard library are loaded here.
"""
