"""HTTP: one module for each group of endpoints, each with a router. A new router is added to `ROUTERS`."""

from __future__ import annotations

from fastapi import APIRouter

from . import auth, cache, catalogue, chunks, fetch, rights, roots, spaces, users

ROUTERS: tuple[APIRouter, ...] = (
    roots.router,
    catalogue.router,
    fetch.router,
    chunks.router,
    cache.router,
    auth.router,
    spaces.router,
    users.router,
    rights.router,
)
