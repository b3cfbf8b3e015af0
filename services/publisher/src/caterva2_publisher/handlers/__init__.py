"""What the publisher answers over HTTP (docs/design/003), to subscribers that the broker has admitted."""

from fastapi import APIRouter, Depends

from . import catalogue, chunks, views
from .strangers import refuse_strangers

_guarded = APIRouter(dependencies=[Depends(refuse_strangers)])
for _each in (catalogue, chunks, views):
    _guarded.include_router(_each.router)

ROUTERS: tuple[APIRouter, ...] = (_guarded,)
