"""The whole URL map."""

from aiohttp import web

from primesvc.web import (
    contract,
    downloads,
    events,
    handbook,
    jobs,
    numbers,
    one_call,
    operations,
    pages,
)

ROUTES = (
    # The original contract.
    web.post("/primes", contract.submit_range),
    web.get("/result/{id}", contract.get_result, name="result"),
    # The same range as a file, in one call.
    web.get("/primes", one_call.get_range),
    # The job API.
    web.post("/jobs", jobs.submit_job, name="jobs"),
    web.get("/jobs", jobs.list_jobs),
    web.get("/jobs/{id}", jobs.get_job, name="job"),
    web.delete("/jobs/{id}", jobs.delete_job),
    web.post("/jobs/{id}/cancel", jobs.cancel_job, name="cancel"),
    web.get("/jobs/{id}/events", events.get_events, name="events"),
    web.get("/jobs/{id}/primes", downloads.get_primes, name="primes"),
    # Numbers one by one.
    web.get("/numbers/{n}", numbers.get_number, name="number"),
    web.post("/numbers", numbers.test_numbers),
    # The page, and the documentation of all this.
    web.get("/", pages.get_page),
    web.get("", pages.add_slash),  # a prefix without its slash; at the root it is "/" again
    web.get("/docs", pages.add_slash),
    web.get("/docs/", handbook.get_index),
    web.get("/docs/api", pages.get_reference),
    web.get("/docs/{name}", handbook.get_chapter),
    web.get("/openapi.json", pages.get_openapi, name="openapi"),
    web.get("/static/{name}", pages.get_static),
    # Operation.
    web.get("/health/live", operations.get_live),
    web.get("/health/ready", operations.get_ready),
    web.get("/metrics", operations.get_metrics),
)
