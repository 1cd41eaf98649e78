"""Keeps the processes of a ``SubprocVecEnv`` usable after Ctrl-C, and ends them after a death."""

from contextlib import suppress
from multiprocessing import connection

from gymnasium import spaces
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

#: Seconds that a process has to end, after it lost its pipe or was told to end.
DEATH_TIMEOUT = 5.0


def forget_replies(env: VecEnv) -> None:
    """Read and drop replies that are still in the pipes after Ctrl-C interrupted a step.

    A process that died is reported by the next call.

    :param env: environments, of any kind
    """
    base = env.unwrapped
    if not isinstance(base, SubprocVecEnv) or base.closed:
        return
    for remote in base.remotes:
        with suppress(EOFError, OSError):
            remote.send(("get_spaces", None))  # no other command is answered with two spaces
            while not _are_spaces(remote.recv()):
                pass
    base.waiting = False


def _are_spaces(reply: object) -> bool:
    if not isinstance(reply, tuple) or len(reply) != 2:
        return False
    return all(isinstance(part, spaces.Space) for part in reply)


def stop_workers(env: SubprocVecEnv) -> tuple[int | None, int | None]:
    """End all processes after one has died: ``close`` would wait for ever.

    :param env: environment, closed afterwards
    :return: index and exit code of the process that died
    """
    connection.wait([process.sentinel for process in env.processes], DEATH_TIMEOUT)
    codes = [process.exitcode for process in env.processes]
    dead = next((i for i, code in enumerate(codes) if code is not None), None)
    for process in env.processes:
        process.terminate()
    for process in env.processes:
        process.join(DEATH_TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
    for remote in env.remotes:
        remote.close()
    env.waiting, env.closed = False, True
    return dead, None if dead is None else codes[dead]
