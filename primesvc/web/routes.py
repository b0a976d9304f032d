"""The whole URL map."""

from aiohttp import web

from primesvc.web import contract, operations

ROUTES = (
    web.post("/primes", contract.submit_range),
    web.get("/result/{id}", contract.get_result),
    web.get("/health/live", operations.get_live),
)
