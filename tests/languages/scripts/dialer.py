"""Dials by itself, past Terapi's requests. CPython's C library has all of the sockets; there is nothing behind them."""

import socket

import terapi


def connect(port):
    socket.socket().connect(("127.0.0.1", port))


def send(port):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))


def listen(port):
    socket.socket().bind(("127.0.0.1", 0))


def look_up(port):
    socket.getaddrinfo("localhost", port)


@terapi.sync(models={"Thing": {"type": "object"}})
def fetch_data(terapi):
    """Tries every way out that there is."""
    for way in (connect, send, listen, look_up):
        try:
            way(terapi.config["port"])
        except OSError as error:
            terapi.log(f"{way.__name__}: {type(error).__name__}: {error}")
        else:
            raise RuntimeError(f"{way.__name__} got out")
