# Prints the frames of a WebSocket, one on a line, and how it was closed.
import asyncio, sys, websockets


async def main():
    async with websockets.connect(sys.argv[1], max_size=None, max_queue=None) as socket:
        try:
            await socket.ping()
        except websockets.ConnectionClosed:
            pass  # the end was faster; what came before it can still be received
        try:
            while True:
                print(await socket.recv(), flush=True)
        except websockets.ConnectionClosed as closed:
            print("closed", closed.rcvd.code, closed.rcvd.reason)


asyncio.run(main())
