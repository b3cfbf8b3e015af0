"""HTTP: one module for each group of endpoints, each with a router. A new router is added to `ROUTERS`."""

from __future__ import annotations

from fastapi import APIRouter

from . import auth, rights, roots, users

ROUTERS: tuple[APIRouter, ...] = (roots.router, auth.router, users.router, rights.router)
