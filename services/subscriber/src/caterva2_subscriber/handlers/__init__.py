"""HTTP: one module for each group of endpoints, each with a router. A new router is added to `ROUTERS`."""

from __future__ import annotations

from fastapi import APIRouter

from ..web import pages
from . import (
    auth,
    cache,
    catalogue,
    chunks,
    events,
    expressions,
    fetch,
    oidc,
    preview,
    rights,
    roots,
    search,
    spaces,
    users,
    view,
)

ROUTERS: tuple[APIRouter, ...] = (
    roots.router,
    catalogue.router,
    fetch.router,
    chunks.router,
    cache.router,
    auth.router,
    oidc.router,
    spaces.router,
    expressions.router,
    users.router,
    rights.router,
    view.router,
    preview.router,
    search.router,
    events.router,
    pages.router,
)
