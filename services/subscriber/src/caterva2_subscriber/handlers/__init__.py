"""HTTP: one module for each group of endpoints, each with a router. A new router is added to `ROUTERS`."""

from __future__ import annotations

from fastapi import APIRouter

from . import roots

ROUTERS: tuple[APIRouter, ...] = (roots.router,)
