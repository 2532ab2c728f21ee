"""LAVA's own import of a job's log, over tables in memory.

What reads the log is LAVA's (lava_results_app/dbutils.py of Debian's lava-server, unpacked by ci/setup). The tables stand in
for lava_results_app/models.py, whose own imports want all of a LAVA server; their fields are the same. The loop is that of
lava_scheduler_app/views.py, `internal_v1_jobs_logs`.
"""

import os
import sys
import tempfile
import types
from pathlib import Path

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
)
django.setup()

from django.db import connection, models  # noqa: E402


class Job(models.Model):
    failure_comment = models.TextField(null=True)

    class Meta:
        app_label = "lava"

    def set_failure_comment(self, message):
        self.failure_comment = message
        self.save(update_fields=["failure_comment"])


class TestSuite(models.Model):
    job = models.ForeignKey(Job, on_delete=models.CASCADE)
    name = models.CharField(blank=True, null=True, default=None, max_length=200)

    class Meta:
        app_label = "lava"


class TestSet(models.Model):
    name = models.CharField(blank=True, null=True, default=None, max_length=200)
    suite = models.ForeignKey(TestSuite, on_delete=models.CASCADE)

    class Meta:
        app_label = "lava"


class TestCase(models.Model):
    RESULT_MAP = {"pass": 0, "fail": 1, "skip": 2, "unknown": 3}

    name = models.TextField(blank=True)
    units = models.TextField(null=True, blank=True, default="")
    result = models.PositiveSmallIntegerField()
    measurement = models.DecimalField(decimal_places=10, max_digits=30, blank=True, null=True)
    metadata = models.CharField(blank=True, max_length=4096)
    suite = models.ForeignKey(TestSuite, on_delete=models.CASCADE)
    start_log_line = models.PositiveIntegerField(blank=True, null=True)
    end_log_line = models.PositiveIntegerField(blank=True, null=True)
    test_set = models.ForeignKey(TestSet, related_name="test_cases", null=True, blank=True, default=None, on_delete=models.CASCADE)

    class Meta:
        app_label = "lava"


cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pumice" / "lava"
sys.path.insert(0, str(cache / "usr/lib/python3/dist-packages"))
stand_in = types.ModuleType("lava_results_app.models")
stand_in.TestCase, stand_in.TestSet, stand_in.TestSuite = TestCase, TestSet, TestSuite
sys.modules["lava_results_app.models"] = stand_in

from lava_common.compat import yaml_load  # noqa: E402
from lava_results_app.dbutils import create_metadata_store, map_scanned_results  # noqa: E402

with connection.schema_editor() as editor:
    for model in (Job, TestSuite, TestSet, TestCase):
        editor.create_model(model)


def imported(text):
    """The cases that LAVA keeps of a log, in their order, and what it says against it."""
    job = Job.objects.create()
    with tempfile.TemporaryDirectory() as folder:
        job.output_dir = folder
        cases, strings = [], text.split("\n")
        items = yaml_load(text) or []
        # LAVA takes the text of an item for one line.
        assert len(strings) == len(items) + 1 and strings[-1] == "", (len(strings), len(items))
        for line, string in zip(items, strings):
            assert yaml_load(string) == [line], string
            if line["lvl"] != "results":
                continue
            message = line["msg"]
            start, end = message.pop("starttc", None), message.pop("endtc", None)
            store = create_metadata_store(message, job)
            case = map_scanned_results(results=message, job=job, starttc=start, endtc=end, meta_filename=store)
            if case is not None:
                case.full_clean(exclude=["measurement", "name", "suite", "test_set"])
                cases.append(case)
        TestCase.objects.bulk_create(cases)
    # What is said against it may be said to another instance of the same row.
    job.refresh_from_db()
    kept = TestCase.objects.filter(suite__job=job).order_by("id")
    words = {number: word for word, number in TestCase.RESULT_MAP.items()}
    return {
        "cases": [
            [
                case.suite.name,
                case.test_set and case.test_set.name,
                case.name,
                words[case.result],
                None if case.measurement is None else str(case.measurement),
                case.units,
            ]
            for case in kept
        ],
        "comment": job.failure_comment,
    }

