"""RemoteConnection: a service elsewhere for programs without an event loop, with its jobs."""

from primesvc.asking.connection import Connection, Number, selected, whole_range
from primesvc.asking.progress import Progress
from primesvc.asking.remote import RemoteService
from primesvc.client.client import PrimeClient
from primesvc.client.documents import RemoteJob
from primesvc.states import State


class RemoteConnection(Connection):
    """A connection to a service elsewhere: it can start work there that nobody waits for.

    Raises what `PrimeClient` raises.
    """

    def __init__(self, client: PrimeClient) -> None:
        self._client = client
        self._remote = RemoteService(client, Progress())
        super().__init__(self._remote)

    def submit(
        self,
        start: Number,
        end: Number,
        kind: str = "primes",
        *,
        pattern: str | None = None,
        modulus: Number | None = None,
        residue: Number | None = None,
    ) -> RemoteJob:
        """The job for the range, or for the `count` of its primes: it goes on by itself.

        What is asked for later, such as `primes` of the same range, is the same job.
        """
        range_, selection = whole_range(start, end), selected(pattern, modulus, residue)
        return self._portal.call(lambda: self._remote.submit(range_, selection, kind))

    def wait(self, job: RemoteJob | str) -> RemoteJob:
        """Wait until a job, or the one with an id, is finished. Interrupted, it leaves the job."""
        return self._portal.call(lambda: self._client.wait(job))

    def job(self, job_id: str) -> RemoteJob:
        """The job with this id, as it is now."""
        return self._portal.call(lambda: self._client.job(job_id))

    def jobs(self, state: State | str | None = None) -> list[RemoteJob]:
        """The jobs the service knows, the newest first; only those in `state` if it is given."""
        return self._portal.call(lambda: self._client.jobs(state))

    def cancel(self, job: RemoteJob | str) -> RemoteJob:
        """Stop a job for everybody who waits for it."""
        return self._portal.call(lambda: self._client.cancel(job))

    def delete(self, job: RemoteJob | str) -> None:
        """Make the service forget a job, cancelled if it is unfinished."""
        self._portal.call(lambda: self._client.delete(job))
