"""The link between the sites of the bench passes bytes on, and counts them."""

import asyncio
import json
from contextlib import suppress

from bench.link import serve
from bench.sites import Traffic
from tests.support.ports import free_port


async def read_from(port: int, sent: bytes = b"") -> bytes:
    while True:
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        await asyncio.sleep(0.01)
    writer.write(sent)
    content = await reader.read()
    writer.close()
    await writer.wait_closed()
    return content


async def test_a_link_passes_bytes_and_counts_requests() -> None:
    body = bytes(range(256)) * 4000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    target, listen, counts = free_port(), free_port(), free_port()
    server = await asyncio.start_server(answer, "127.0.0.1", target)
    link = asyncio.create_task(serve(listen, target, counts, 0.001, 1000))
    try:
        request = b"POST /api/chunks/foo/a.b2nd?x=1 HTTP/1.1\r\nHost: far\r\n\r\n"
        assert await read_from(listen, request) == body
        assert await read_from(listen, request) == body
        traffic = Traffic(**json.loads(await read_from(counts)))
        assert traffic == Traffic({"/api/chunks": 2}, 2 * len(body))
        assert (traffic - Traffic({"/api/chunks": 1}, len(body))).fetches == 1
    finally:
        link.cancel()
        with suppress(asyncio.CancelledError):
            await link
        server.close()
        await server.wait_closed()
