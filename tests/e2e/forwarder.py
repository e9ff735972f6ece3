"""What stands between a client and weir, and can be pointed elsewhere."""

import asyncio
import threading

import processes


class Forwarder:
    """A TCP port whose connections go to an address that can change, as those of a
    load balancer do: the clients keep their endpoint. Pointing it elsewhere cuts the
    connections there are; pointed nowhere, it refuses new ones."""

    def __init__(self):
        self.port = processes.free_port()
        self._server = None
        self._address = ""
        self._writers: set = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def point_at(self, address: str | None) -> None:
        asyncio.run_coroutine_threadsafe(self._point_at(address), self._loop).result(10)

    def close(self) -> None:
        self.point_at(None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _point_at(self, address: str | None) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        if address is not None:
            self._address = address
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader, writer) -> None:
        host, _, port = self._address.rpartition(":")
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(up_writer)
        await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
        self._writers -= {writer, up_writer}


async def _pump(reader, writer) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
    except OSError:
        writer.transport.abort()
