"""Debian's lava-server as it is, with a database cluster, settings and devices of its own."""

import grp
import json
import os
import pwd
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from processes import Failure, free_port, run

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pumice"
UNPACKED = CACHE / "lava"
WORKER = "pumice-01"
BOARDS = ["qemu-01", "qemu-02"]
BOARD_TYPE = "qemu-virt-armv7"


class LavaServer:
    """Its database, web server and scheduler run while the processes do."""

    def __init__(self, processes):
        self.processes = processes
        self.folder = processes.folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = self._settings(self._database())
        self._manage("migrate", "--noinput")
        self._manage("users", "add", "--superuser", "--staff", "--passwd", "admin", "admin")
        self.token = self._manage("tokens", "add", "--user", "admin").strip().splitlines()[-1]
        self._lab()
        self.start_web()
        # It changes to a user of LAVA's own, whom nobody has made here.
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        words = ["lava-scheduler", "--level", "DEBUG", "--log-file", "-", "--user", user, "--group", group]
        processes.start("scheduler", self._command(*words), env=self.environment)

    def start_web(self):
        self.web = self.processes.start(
            "gunicorn",
            ["/usr/bin/gunicorn", "lava_server.wsgi", "--bind", f"127.0.0.1:{self.port}", "--workers", "2", "--threads", "4"],
            env=self.environment,
        )
        self.processes.wait_until("LAVA's server answers", self._answers)

    def stop_web(self):
        self.processes.end(self.web, "gunicorn")

    def get(self, path):
        """JSON or text of the REST interface, as an administrator."""
        request = urllib.request.Request(f"{self.url}/api/v0.2/{path}", headers={"Authorization": f"Token {self.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
            return json.loads(text) if "json" in answer.headers["Content-Type"] else text

    def log_so_far(self, job):
        try:
            return self.get(f"jobs/{job}/logs/")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return ""
            raise

    def lavacli(self, *words):
        uri = f"http://admin:{self.token}@127.0.0.1:{self.port}/RPC2"
        return run(["/usr/bin/lavacli", "--uri", uri, *words])

    def submit(self, job):
        return self.submit_all(job)[0]

    def submit_all(self, job):
        """The numbers of all jobs that one becomes: of several boards they are shown as 7.0, 7.1, …, and are 7, 8, …"""
        shown = self.lavacli("jobs", "submit", HERE / job).split()
        first = int(shown[0].split(".")[0])
        return [first + place for place in range(len(shown))]

    def wait_for(self, job, state="Finished"):
        def reached():
            view = self.get(f"jobs/{job}/")
            return view if view["state"] == state else None

        return self.processes.wait_until(f"job {job} is {state}", reached)

    def _database(self):
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            raise Failure("PostgreSQL is missing: run ci/setup lava")
        data = self.folder / "database"
        data.mkdir()
        as_owner = []
        if os.geteuid() == 0:
            shutil.chown(data, "postgres", "postgres")
            as_owner = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        run([*as_owner, programs[-1] / "initdb", "-D", data, "--auth", "trust", "--username", "lava", "--no-sync"], cwd="/")
        port = free_port()
        options = ["-p", port, "-k", data, "-h", "127.0.0.1", "-c", "fsync=off"]
        self.processes.start("postgres", [*as_owner, programs[-1] / "postgres", "-D", data, *options], cwd="/")
        ready = [programs[-1] / "pg_isready", "-q", "-U", "lava", "-h", "127.0.0.1", "-p", str(port)]
        self.processes.wait_until("the database answers", lambda: os.spawnv(os.P_WAIT, str(ready[0]), list(map(str, ready))) == 0)
        return f"postgres://lava@127.0.0.1:{port}/postgres"

    def _settings(self, database):
        home = self.folder / "lava"
        for folder in ["media", "static", "devices", "device-types", "health-checks", "dispatcher.d"]:
            (home / folder).mkdir(parents=True)
        share = UNPACKED / "usr/share/lava-server"
        return {
            **os.environ,
            "PYTHONPATH": str(UNPACKED / "usr/lib/python3/dist-packages"),
            "DJANGO_SETTINGS_MODULE": "lava_server.settings.prod",
            "DATABASE_URL": database,
            "SECRET_KEY": "for this test alone",
            "LAVA_SETTINGS_MEDIA_ROOT": str(home / "media"),
            "LAVA_SETTINGS_STATIC_ROOT": str(home / "static"),
            "LAVA_SETTINGS_DJANGO_LOGFILE": str(self.folder / "django.log"),
            "LAVA_SETTINGS_DISPATCHER_CONFIG_PATH": str(home / "dispatcher.d"),
            "LAVA_SETTINGS_DEVICES_PATH": str(home / "devices"),
            "LAVA_YAML_SETTINGS_DEVICE_TYPES_PATHS": json.dumps([str(home / "device-types"), str(share / "device-types")]),
            "LAVA_SETTINGS_HEALTH_CHECKS_PATH": str(home / "health-checks"),
            "LAVA_SETTINGS_INTERNAL_EVENT_SOCKET": f"ipc://{self.folder}/events",
            # Behind no TLS.
            "LAVA_YAML_SETTINGS_SESSION_COOKIE_SECURE": "false",
            "LAVA_YAML_SETTINGS_CSRF_COOKIE_SECURE": "false",
        }

    def _command(self, *words):
        return ["/usr/bin/python3", "-m", "django", *words]

    def _manage(self, *words):
        return run(self._command(*words), env=self.environment)

    def _lab(self):
        home = self.folder / "lava"
        shutil.copy(HERE / f"{BOARD_TYPE}.jinja2", home / "device-types")
        self._manage("device-types", "add", BOARD_TYPE)
        added = self._manage("workers", "add", WORKER)
        self.worker_token = added.split("Token:")[1].strip()
        for board in BOARDS:
            shutil.copy(HERE / f"{board}.jinja2", home / "devices")
            self._manage("devices", "add", board, "--device-type", BOARD_TYPE, "--worker", WORKER)

    def _answers(self):
        try:
            with urllib.request.urlopen(f"{self.url}/api/v0.2/system/version/", timeout=10) as answer:
                return json.load(answer)["version"]
        except (urllib.error.URLError, OSError):
            return None
