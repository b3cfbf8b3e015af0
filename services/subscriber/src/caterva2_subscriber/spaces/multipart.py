"""Reading an uploaded file from a multipart body as it arrives, without keeping it anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from caterva2.errors import BadRequest

FIELD = "file"


class UploadedFile:
    """The part ``file`` of a multipart body.

    Parameters
    ----------
    content_type
        Header of the request.
    body
        The request's body.
    """

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise BadRequest("the body must be multipart/form-data with a part named 'file'")
        self.filename = ""
        self._body = body
        self._found = False
        self._inside = False
        self._pieces: list[bytes] = []
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        callbacks: Any = {
            "on_part_begin": self._on_part_begin,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_end": self._on_end,
        }
        self._ended = False
        self._parser = MultipartParser(boundary, callbacks)

    async def start(self) -> bool:
        """Read up to the beginning of the part, so that its name is known; tell whether there is such a part."""
        while not self._found:
            if not await self._feed():
                return False
        return True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content of the part. Raises BadRequest if the body is broken off."""
        more = True
        while more:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            more = await self._feed()
        for piece in self._pieces:
            yield piece
        if not self._ended:
            raise BadRequest("the upload was broken off")

    async def _feed(self) -> bool:
        piece = await anext(self._body, None)
        if piece is None:
            return False
        try:
            self._parser.write(piece)
        except MultipartParseError:
            raise BadRequest("the multipart body cannot be read") from None
        return True

    # --- callbacks of the parser ---------------------------------------------------------------------
    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") == FIELD.encode() and not self._found:
            self._found = self._inside = True
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._pieces.append(data[start:end])

    def _on_part_end(self) -> None:
        self._inside = False

    def _on_end(self) -> None:
        self._ended = True
