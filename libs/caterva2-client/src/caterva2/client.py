"""Module name under which programs written for the original import the classes of the client."""

from ._address import DEFAULT_URLBASE as sub_urlbase_default
from ._auth import BasicAuth
from ._client import Client
from ._dataset import Dataset
from ._file import File, Root

__all__ = ["BasicAuth", "Client", "Dataset", "File", "Root", "sub_urlbase_default"]
