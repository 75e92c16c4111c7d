# SPDX-License-Identifier: GPL-2.0-or-later
"""The layers of tests: what each is, how it is built, where its tests are.

Tests are found, not listed: what a layer's meson.build declares, or a file of
the right name in the layer's folder, is run.
"""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("VTOE_BUILD", ROOT / "build")).resolve()
PYTHON = "/usr/bin/python3"

#: What tests measured, for "make report".
FIGURES = BUILD / "report" / "figures.jsonl"

#: Seconds that each fuzz target runs.
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))

#: A sanitizer's report ends the program, and so fails the test.
SANITIZER = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=99",
}

#: QEMU's own tests that walk over every device, command and property, and so
#: over ours.
QEMU_GENERIC = ["device-introspect-test", "qmp-cmd-test", "qom-test",
                "test-hmp"]


#: Our qtests that run once more over links with TLS, and over links that a
#: registrar makes.
OVER_OTHERS = ["vtoe-pair-test", "vtoe-link-test"]
#: Our qtests that the release build is not given as well, for the time that they
#: take: what they show does not depend on how QEMU is built.
SANITIZED_ONLY = {"vtoe-migrate-test", "vtoe-relay-test", "vtoe-resume-test",
                  "vtoe-pair-test-tls", "vtoe-link-test-tls",
                  "vtoe-pair-test-registrar", "vtoe-link-test-registrar"}


class Test:
    """One program to run.

    limit is in seconds; wanted is "cases" or "exit", see results.parse();
    alone: it measures, so nothing else may run meanwhile.
    """

    def __init__(self, name, argv, limit, env=None, cwd=None, wanted="cases",
                 alone=False):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.limit = limit
        self.env = env or {}
        self.cwd = cwd
        self.wanted = wanted
        self.alone = alone


class Layer:
    """A layer.

    prepare: commands that build it.  find: gives its tests once it is built.
    usual: what it takes on two cores, in words.  limit: seconds for all of
    it, without the building.  jobs: how many tests may run at once.
    figure: a promise of docs/promises.rst that no test of it fails.
    by_name: takes too long to run unless asked for.
    """

    def __init__(self, name, title, usual, limit, prepare, find, jobs=1,
                 figure=None, by_name=False):
        self.name = name
        self.title = title
        self.usual = usual
        self.limit = limit
        self.prepare = [[str(a) for a in argv] for argv in prepare]
        self.find = find
        self.jobs = jobs
        self.figure = figure
        self.by_name = by_name


def script(name, *args):
    return [ROOT / "scripts" / name, *args]


def meson_tests(folder, suite=None):
    """The tests that a build of the core declares."""
    said = subprocess.run(
        [PYTHON, "/usr/bin/meson", "introspect", "--tests", BUILD / folder],
        check=True, capture_output=True, text=True).stdout
    return [t for t in json.loads(said)
            if suite is None or any(s.split(":")[-1] == suite
                                    for s in t["suite"])]


def find_unit(folder="core-asan"):
    return [Test(t["name"], t["cmd"], t["timeout"],
                 env={**SANITIZER, **t["env"]}, cwd=t["workdir"])
            for t in meson_tests(folder, "unit")]


#: A tool of QEMU's build: it has the links, which QEMU's libraries carry.
STREAM_BENCH = "tests/qtest/vtoe/stream-bench"


def find_bench():
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    return [Test("stream-bench",
                 [BUILD / "qemu" / STREAM_BENCH, "--figures", FIGURES], 300,
                 wanted="exit")]


def fuzz_test(layer, name, cmd):
    """A libFuzzer program as a test."""
    out = BUILD / "check" / layer
    corpus = out / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = ROOT / "tests" / "fuzz" / "corpus" / name
    # What it finds goes to the first folder; the seeds stay as they are.
    argv = cmd + ["-max_total_time=%d" % FUZZ_SECONDS, "-rss_limit_mb=2048",
                  "-timeout=10", "-artifact_prefix=%s/%s-" % (out, name),
                  corpus]
    if seeds.is_dir():
        argv.append(seeds)
    return Test(name, argv, FUZZ_SECONDS + 60, env=SANITIZER, wanted="exit")


def find_fuzz():
    return [fuzz_test("fuzz", t["name"], t["cmd"])
            for t in meson_tests("core-fuzz", "fuzz")]


def find_generic_fuzz():
    """QEMU's generic fuzzer, in the configurations that are ours."""
    program = BUILD / "qemu-fuzz" / "qemu-fuzz-x86_64"
    ours = re.findall(r'\.name = "([^"]+)"',
                      (ROOT / "tests/qtest/fuzz-configs.h.inc").read_text())
    return [fuzz_test("generic-fuzz", name,
                      [program, "--fuzz-target=generic-fuzz-" + name])
            for name in ours]


def find_qtest(qemu="qemu"):
    """Our part of QEMU's qos-test, our own programs, QEMU's generic tests.

    qemu: the folder whose emulator they try.  The programs themselves are
    those of the release build, so a build with sanitizers is the emulator's.
    """
    build = BUILD / "qemu"
    env = {"QTEST_QEMU_BINARY": f"../{qemu}/qemu-system-x86_64", **SANITIZER}
    if qemu == "qemu":          # a sanitizer's times are no figures
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        env["VTOE_FIGURES"] = str(FIGURES)
    # Sanitizers slow everything down by some factor.
    slow = 1 if qemu == "qemu" else 4

    def test(name, argv, limit):
        return Test(name, argv, limit * slow, env=env, cwd=build)

    tests = []
    qos = build / "tests" / "qtest" / "qos-test"
    listed = subprocess.run([qos, "-l"], cwd=build, env={**os.environ, **env},
                            capture_output=True, text=True, check=False)
    ours = [p for p in listed.stdout.splitlines() if "/vtoe" in p]
    if ours:
        paths = [arg for p in ours for arg in ("-p", p)]
        tests.append(test("qos-test", [qos, "--tap", "-k", *paths],
                          60 + 10 * len(ours)))
    programs = [Path(p) for p in ninja_inputs(build, "vtoe-qtests")]
    for program in sorted(programs, key=lambda p: p.name not in LONGEST):
        tests.append(test(program.name, [build / program, "--tap", "-k"], 300))
    for name in OVER_OTHERS:
        for link in "tls", "registrar":
            tests.append(test(f"{name}-{link}", [
                build / "tests/qtest/vtoe" / name, "--tap", "-k"], 300))
            tests[-1].env = {**env, "VTOE_LINK": link}
    if qemu == "qemu":
        tests = [t for t in tests if t.name not in SANITIZED_ONLY]
    for name in QEMU_GENERIC:
        tests.append(test(name, [build / "tests" / "qtest" / name, "--tap",
                                 "-k"], 300))
    return tests


def ninja_inputs(build, target):
    """What a phony target of QEMU's build stands for; [] without it."""
    said = subprocess.run(["ninja", "-C", build, "-t", "query", target],
                          capture_output=True, text=True, check=False)
    inputs = []
    inside = False
    for line in said.stdout.splitlines():
        if line.startswith("  input:"):
            inside = True
        elif line.startswith("  outputs:"):
            break
        elif inside:
            inputs.append(line.split()[-1])
    return inputs


def find_scripts(folder, limit, env=None):
    """Programs test_*.py in a folder of tests, each a test."""
    def find():
        paths = sorted((ROOT / "tests" / folder).glob("test_*.py"))
        paths.sort(key=lambda p: p.stem not in LONGEST)
        return [Test(p.stem, [PYTHON, p], limit, cwd=ROOT, env=env,
                     alone=p.stem in MEASURES) for p in paths]
    return find


#: Files of tests that compare how fast something is.
MEASURES = {"test_frames_rate", "test_programs", "test_streams",
            "test_virtio_rate"}
#: Those that take longest begin first, lest one is left over at the end while
#: nothing else has to be done.
LONGEST = {"test_register", "test_selftests", "test_sockets", "test_stream",
           "test_topology", "vtoe-migrate-test", "vtoe-resume-test"}


#: Files of guest tests that "make check" runs on the newer kernel alone, for
#: the time that they take; the layer guest-6.1 has them on the older one.
NEWER_KERNEL = {"test_capture", "test_containers", "test_copies",
                "test_dead_peer", "test_programs", "test_selftests"}


def find_guest(kernel=None):
    """The guest tests; those of NEWER_KERNEL on the given one, if any."""
    tests = find_scripts("guest", 1800)()
    for test in tests:
        if test.name in NEWER_KERNEL:
            test.argv += ["-e", kernel or "6.12"]
    return [test for test in tests if not kernel or test.name in NEWER_KERNEL]


def find_guest_long():
    """What takes too long, and the programs with better figures."""
    tests = find_scripts("guest/long", 3600)()
    tests += [test for test in find_guest("6.12")
              if test.name == "test_programs"]
    for test in tests:
        test.env["VTOE_ROUNDS"] = "3"
    return tests


def find_debug_kernel():
    """The guest tests that a kernel with its debugging on is given."""
    env = {"VTOE_GUEST_KERNEL": "6.12-debug", "VTOE_SLOW": "8"}
    return [Test(name, [PYTHON, ROOT / "tests" / "guest" / f"{name}.py", "-e",
                        "6.12"], 3600, env=env, cwd=ROOT,
                 alone=name in MEASURES)
            for name in ("test_streams", "test_sockets", "test_fallback",
                         "test_faults", "test_policy")]


#: What the thread sanitizer is told.
TSAN = {"TSAN_OPTIONS": f"{SANITIZER['TSAN_OPTIONS']}:"
                        f"suppressions={ROOT}/tests/rdma/tsan/suppressions",
        # GLib's own allocator hands memory from thread to thread where the
        # sanitizer does not see it.
        "G_SLICE": "always-malloc", "VTOE_SLOW": "5"}
#: Our qtests that the thread sanitizer is given: what a card and the VNET thread
#: hand each other, and frames, streams and links over all that may happen to them.
TSAN_QTESTS = ["vtoe-link-test", "vtoe-device-test", "vnet-limit-test"]


def find_tsan():
    """Tests of several threads, for an emulator with the thread sanitizer."""
    emulator = BUILD / "qemu-tsan" / "qemu-system-x86_64"
    tests = find_scripts("links", 900, env={**TSAN,
                                            "VTOE_QEMU": str(emulator)})()
    build = BUILD / "qemu"
    # A guest's memory is written by many small accesses: more of them have to
    # be remembered, to tell by whom.
    env = {**TSAN, "QTEST_QEMU_BINARY": str(emulator),
           "TSAN_OPTIONS": TSAN["TSAN_OPTIONS"] + ":history_size=7"}
    return tests + [
        Test(name, [build / "tests/qtest/vtoe" / name, "--tap", "-k"], 900,
             env=env, cwd=build) for name in TSAN_QTESTS]


#: The emulator and our own programs, and QEMU's generic ones.
QTEST_BUILD = [script("qemu-build", "release"),
               script("qemu-build", "release",
                      *("tests/qtest/" + name for name in QEMU_GENERIC))]
#: The emulator alone, with sanitizers.
ASAN_BUILD = script("qemu-build", "asan", "qemu-system-x86_64")

LAYERS = [
    Layer("build", "the graft on QEMU, and the tools that test and report",
          "10 seconds", 120, [script("graft")], find_scripts("build", 60)),
    Layer("model", "the protocols, in every order of events", "2 minutes", 480,
          [], find_scripts("model", 300), jobs=2, figure="model.failures"),
    Layer("unit", "behaviour alone, with sanitizers", "1 minute", 300,
          [script("core-build", "asan")], find_unit, jobs=2),
    Layer("tools", "what people type, with sanitizers", "10 seconds", 300,
          [script("core-build", "asan"), script("qemu-build", "release")],
          find_scripts("tools", 120)),
    Layer("qtest", "QEMU without a guest CPU", "3 minutes", 900,
          QTEST_BUILD, find_qtest, jobs=2),
    Layer("qtest-asan", "the same with sanitizers",
          "3 minutes, 5 more when QEMU has to be built for it", 1500,
          [*QTEST_BUILD, ASAN_BUILD],
          lambda: find_qtest("qemu-asan"), jobs=2),
    Layer("links", "links and switches, with QEMUs that have no guest; "
          "sanitizers", "1 minute", 600,
          [script("qemu-build", "release"), ASAN_BUILD],
          find_scripts("links", 300, env={
              **SANITIZER,
              "VTOE_QEMU": str(BUILD / "qemu-asan" / "qemu-system-x86_64")}),
          jobs=2),
    Layer("tsan", "what threads hand each other: links, switches and cards with "
          "the thread sanitizer",
          "3 minutes, 2 more when QEMU has to be built for it", 1500,
          [*QTEST_BUILD[:1], script("qemu-build", "tsan", "qemu-system-x86_64")],
          find_tsan, jobs=2),
    Layer("bench", "the stream engine against plain sockets", "1 minute", 600,
          [script("qemu-build", "release", STREAM_BENCH)], find_bench),
    Layer("package", "the guest's Debian packages; sparse and checkpatch",
          "3 minutes", 1500, [script("guest-modules")],
          find_scripts("package", 1200), jobs=2),
    Layer("guest", "two QEMUs, stock Debian kernels", "25 minutes", 5400,
          [script("qemu-build", "release"), script("guest-modules")],
          find_guest, jobs=2),
    Layer("guest-6.1", "what the layer guest leaves out on the older kernel",
          "8 minutes", 3600,
          [script("qemu-build", "release"), script("guest-modules")],
          lambda: find_guest("6.1"), jobs=2, by_name=True),
    Layer("guest-long", "MPI among two and four guests, programs over TCP for "
          "each reason, and in rounds", "40 minutes", 2 * 3600,
          [script("qemu-build", "release"), script("guest-modules")],
          find_guest_long, by_name=True),
    Layer("debug-kernel", "guests whose kernel looks for mistakes: KASAN, "
          "lockdep, kmemleak",
          "40 minutes, 15 minutes more when the kernel has to be built", 4 * 3600,
          [script("qemu-build", "release"), script("debug-kernel"),
           script("guest-modules")],
          find_debug_kernel, jobs=2, by_name=True),
    Layer("rdma", "two QEMUs in a guest kernel with RDMA", "10 minutes", 3600,
          [script("qemu-build", "release"),
           script("qemu-build", "release", STREAM_BENCH),
           script("guest-modules")],
          find_scripts("rdma", 1200)),
    Layer("rdma-asan", "the RDMA link with sanitizers",
          "5 minutes, 7 more when QEMU has to be built for it", 1500,
          [script("qemu-build", "release"), ASAN_BUILD],
          find_scripts("rdma/asan", 1200), by_name=True),
    Layer("rdma-tsan", "the RDMA link with the thread sanitizer",
          "5 minutes, 7 more when QEMU has to be built for it", 1500,
          [script("qemu-build", "release"),
           script("qemu-build", "tsan", "qemu-system-x86_64")],
          find_scripts("rdma/tsan", 1200), by_name=True),
    Layer("fuzz", "the decoders, %d s each" % FUZZ_SECONDS,
          "3 minutes", 900,
          [script("core-build", "fuzz")], find_fuzz, jobs=3,
          figure="fuzz.findings"),
    Layer("generic-fuzz", "QEMU's fuzzer on our devices, %d s each"
          % FUZZ_SECONDS,
          "2 minutes, 5 more when QEMU has to be built for it", 900,
          [script("qemu-build", "fuzz")], find_generic_fuzz, by_name=True),
]
