"""The route of the live feed: one sender and one reader for each WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from dashboard.context import PREFIX, Context
from dashboard.live import Client, Hub

# A client that takes nothing for this long is gone, or is no use to anyone.
SEND_DEADLINE_S: Final = 20.0
TRY_AGAIN_LATER: Final = 1013
POLICY_VIOLATION: Final = 1008


class _Request(msgspec.Struct):
    type: str


_decode: Final = msgspec.json.Decoder(_Request).decode


def routes(context: Context) -> APIRouter:
    """The router."""
    router = APIRouter()

    @router.websocket(f"{PREFIX}/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        client = context.hub.open()
        if client is None:
            await socket.close(TRY_AGAIN_LATER, "too many clients")
            return
        sender = asyncio.create_task(_send(socket, client, context.hub))
        reader = asyncio.create_task(_read(socket, client))
        try:
            await asyncio.wait((sender, reader), return_when=asyncio.FIRST_COMPLETED)
        finally:
            context.hub.close(client)
            for task in (sender, reader):
                task.cancel()
            ended = await asyncio.gather(sender, reader, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end  # a fault of ours; the outermost layer logs it

    return router


async def _send(socket: WebSocket, client: Client, hub: Hub) -> None:
    # A connection that breaks while being written to ends here; the reader learns of it as well.
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
        while True:
            for frame in await client.next(hub):
                async with asyncio.timeout(SEND_DEADLINE_S):
                    if isinstance(frame, bytes):
                        await socket.send_bytes(frame)
                    else:
                        await socket.send_text(frame)


async def _read(socket: WebSocket, client: Client) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        try:
            request = _decode(message.get("text") or "")
        except msgspec.MsgspecError:
            if socket.application_state is WebSocketState.CONNECTED:
                await socket.close(POLICY_VIOLATION, 'say {"type":"resync"} or nothing')
            return
        # Words of newer pages are left unanswered.
        if request.type == "resync":
            client.fall_behind()
