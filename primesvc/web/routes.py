"""The whole URL map."""

from aiohttp import web

from primesvc.web import contract, downloads, operations

ROUTES = (
    web.post("/primes", contract.submit_range),
    web.get("/result/{id}", contract.get_result),
    web.get("/jobs/{id}/primes", downloads.get_primes),
    web.get("/health/live", operations.get_live),
)
