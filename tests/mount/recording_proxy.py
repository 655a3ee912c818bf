"""Carries connections from one port of 127.0.0.1 to another, and keeps every byte in a file.

usage: recording_proxy.py LISTEN_PORT TARGET_PORT FILE
"""

import asyncio
import sys

PIECE_BYTES = 1 << 18


async def carry(reader, writer, record):
    try:
        while piece := await reader.read(PIECE_BYTES):
            record.write(piece)
            record.flush()
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(listen_port, target_port, path):
    with open(path, "wb") as record:

        async def serve(reader, writer):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target_port)
            await asyncio.gather(
                carry(reader, far_writer, record), carry(far_reader, writer, record)
            )

        server = await asyncio.start_server(serve, "127.0.0.1", listen_port)
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
