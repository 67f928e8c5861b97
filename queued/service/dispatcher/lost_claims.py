"""Records claims again that the database has lost in a failover, so that their runs go on.

A claim is not recorded again if its job has changed since, or is lost, too. Then its run is ended.
"""

from queued.core.runs import Claim, HeldRun
from queued.service.dispatcher.turn_results import Turn
from queued.service.dispatcher.worker_pool import WorkerPool
from queued.service.ipc.messages import Recorded, Result
from queued.store.ledger import Ledger


class LostClaims:
    """The claims of one instance. Call all within a transaction."""

    def __init__(self, ledger: Ledger, instance: str) -> None:
        self._ledger = ledger
        self._instance = instance

    def restore(self, turn: Turn, pool: WorkerPool) -> list[Claim]:
        """Records the claims of the table again, and the workers.

        A run is not ended if its result is in the inbox, because an unknown commit may have
        recorded its end. Returns the claims that are in force and not in the table: they have
        ended, but the record of their end is lost.
        """
        results = {message.key for _, message in pool.inbox if isinstance(message, Result)}
        for worker, pid in pool.pids().items():
            self._ledger.worker_started(self._instance, worker, pid, now_ms=turn.now_ms)
        in_force = {claim.key: claim for claim in self._ledger.running_claims(self._instance)}
        for claim in list(turn.claims):
            if in_force.pop(claim.key, None) is not None:
                continue
            restored = self._ledger.restore_claim(
                self._instance,
                claim.worker,
                claim.held,
                claimed_ms=claim.claimed_ms,
                now_ms=turn.now_ms,
            )
            if restored:
                turn.restored.append(claim)
            elif restored is None:
                turn.missing.append(claim)
            elif claim.key not in results:
                turn.stale[claim.key] = claim.id
            if not restored and claim.key not in results:
                turn.claims.remove(claim)
                turn.reply(claim.worker, Recorded(key=claim.key, accepted=False))
        return list(in_force.values())

    def restore_begun(self, turn: Turn, worker: int, run: HeldRun) -> None:
        """Records the claim of a run that an earlier dispatcher had sent; adds it to the table."""
        now_ms = turn.now_ms
        if not self._ledger.restore_claim(
            self._instance, worker, run, claimed_ms=now_ms, now_ms=now_ms
        ):
            return
        for claim in self._ledger.running_claims(self._instance):
            if claim.key == run.key:
                turn.claims.inherit(claim)
                turn.restored.append(claim)
