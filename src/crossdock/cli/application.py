"""What every command needs that works on the whole application."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from crossdock.app import Application, open_application
from crossdock.cli.demo import configuration_environment
from crossdock.cli.home import database_address, find_home
from crossdock.cli.output import find_configuration
from crossdock.policy.configuration import Configuration, load_configuration

Answer = TypeVar("Answer")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


def read_configuration(given: str) -> Configuration:
    """The configuration, with the demonstration's secrets where there is a demonstration."""
    path = find_configuration(given)
    environment = dict(os.environ)
    return load_configuration(path, configuration_environment(find_home(environment), path, environment))


async def with_application(given: str, work: Callable[[Application], Awaitable[Answer]]) -> Answer:
    """Do `work` with an application of its own on Crossdock's database."""
    environment = dict(os.environ)
    configuration = read_configuration(given)
    async with open_application(
        configuration, database_address(find_home(environment), environment), pool_size=3
    ) as application:
        return await work(application)
