"""A payment inserted once, by DBOS Transact. A line on standard input says how many callers and for
how many seconds; a line of JSON answers."""

import json
import sys
import threading
import time
import uuid

import sqlalchemy
from dbos import DBOS, DBOSConfig, SetWorkflowID, SQLAlchemyDatasource

url = sys.argv[1].replace("postgres://", "postgresql+psycopg://")
config: DBOSConfig = {
    "name": "once",
    "system_database_url": url,
    "log_level": "ERROR",
    "run_admin_server": False,
}
DBOS(config=config)
# As many connections as there are callers at most.
source = SQLAlchemyDatasource.create(url, engine_kwargs={"pool_size": 32})
insert = sqlalchemy.text("INSERT INTO payment (id, cents) VALUES (:id, 500)")


@source.transaction(isolation_level="READ COMMITTED")
def pay(number: int) -> int:
    source.sql_session().execute(insert, {"id": number})
    return number


@DBOS.workflow()
def charge(number: int) -> int:
    return pay(number)


DBOS.launch()
numbers = iter(range(1 << 60, 1 << 62))
lock = threading.Lock()


def caller(until: float, latencies: list[float]) -> None:
    while True:
        with lock:
            number = next(numbers)
        begun = time.perf_counter()
        if begun >= until:
            return
        with SetWorkflowID(f"charge-{uuid.uuid4()}"):
            charge(number)
        latencies.append((time.perf_counter() - begun) * 1e6)


for line in sys.stdin:
    callers, seconds = line.split()
    begun = time.perf_counter()
    latencies: list[float] = []
    threads = [
        threading.Thread(target=caller, args=(begun + float(seconds), latencies))
        for _ in range(int(callers))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begun
    answer = {"done": len(latencies), "seconds": elapsed, "latencies": latencies}
    print(json.dumps(answer), flush=True)
