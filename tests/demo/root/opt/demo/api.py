"""An asyncio server on one dual-stack socket that says where it was reached, and hangs up."""

import asyncio
import socket


async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address, port, *_rest = writer.get_extra_info("sockname")
    writer.write(f"api, reached at {address} port {port}\n".encode())
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, sock=socket.socket(fileno=3))
    await server.serve_forever()


asyncio.run(main())
