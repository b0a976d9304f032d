"""How the handlers find the service of the application they belong to."""

from typing import Final

from aiohttp import web

from primesvc.service import PrimeService

_SERVICE: Final = web.AppKey("primesvc.service", PrimeService)


def set_service(app: web.Application, service: PrimeService) -> None:
    """Make `service` the one that the handlers of `app` serve."""
    app[_SERVICE] = service


def service_of(app: web.Application) -> PrimeService:
    """The service that an application made by `create_app` serves.

    Raises `KeyError` for any other application.
    """
    return app[_SERVICE]
