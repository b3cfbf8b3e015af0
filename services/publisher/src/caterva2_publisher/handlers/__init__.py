"""What the publisher answers over HTTP (docs/design/003)."""

from fastapi import APIRouter

from . import catalogue, chunks, overviews

ROUTERS: tuple[APIRouter, ...] = (catalogue.router, chunks.router, overviews.router)
