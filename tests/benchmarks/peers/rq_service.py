"""The original contract as a Flask application that leaves the work to RQ workers.

Served by Werkzeug's threaded server, as such services are on one machine, with
connections kept alive and small answers sent at once.
"""

import json
import sys
import uuid

import flask
import redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.benchmarks.peers.rq_jobs import find_primes


class _KeepAlive(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head and the body are sent apart: with Nagle's algorithm the body would wait for 40 ms.
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing, as the other side."""


class _Service:
    """The two handlers and the queue behind them."""

    def __init__(self, redis_port: int) -> None:
        self._redis = redis.Redis("127.0.0.1", redis_port)
        self._queue = Queue(connection=self._redis)

    def submit(self) -> flask.Response:
        """POST /primes?start_num=&end_num=."""
        try:
            start = int(flask.request.args["start_num"])
            end = int(flask.request.args["end_num"])
        except (KeyError, ValueError):
            flask.abort(400)
        if not 0 <= start < end:
            flask.abort(400)
        job_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"primes:{start}:{end}"))
        if not Job.exists(job_id, connection=self._redis):
            self._queue.enqueue(find_primes, start, end, job_id=job_id)
        return _json(job_id)

    def get_result(self, job_id: str) -> flask.Response:
        """GET /result/<job_id>."""
        try:
            job = Job.fetch(job_id, connection=self._redis)
        except NoSuchJobError:
            flask.abort(400)
        if job.get_status(refresh=False) != "finished":
            return flask.Response(status=204)
        return _json(job.return_value())


def _json(value: object) -> flask.Response:
    return flask.Response(json.dumps(value) + "\n", content_type="application/json")


def _serve(redis_port: int) -> None:
    service = _Service(redis_port)
    app = flask.Flask(__name__)
    app.add_url_rule("/primes", view_func=service.submit, methods=["POST"])
    app.add_url_rule("/result/<job_id>", view_func=service.get_result)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_KeepAlive)
    print(f"rq_service serves on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
