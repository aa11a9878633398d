"""An asyncio echo server, and 50 clients of it at once that check every byte."""
import asyncio
import sys

ROUNDS, SIZE = 100, 1000


async def echo(reader, writer):
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def serve(host, port):
    server = await asyncio.start_server(echo, host, port)
    await server.serve_forever()


async def client(number, host, port):
    reader, writer = await asyncio.open_connection(host, port)
    for turn in range(ROUNDS):
        message = bytes([(number + turn) % 256]) * SIZE
        writer.write(message)
        await writer.drain()
        assert await reader.readexactly(SIZE) == message, f"client {number}, message {turn}"
    writer.write_eof()
    assert await reader.read() == b"", f"client {number}: more than was sent"
    writer.close()
    await writer.wait_closed()


async def ask(host, port):
    await asyncio.gather(*(client(number, host, port) for number in range(50)))


role, host, port = sys.argv[1:]
asyncio.run((serve if role == "serve" else ask)(host, int(port)))
