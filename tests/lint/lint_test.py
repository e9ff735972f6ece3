#!/usr/bin/env python3
"""Every check of this folder catches what it is there for, and lets pass what it should."""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

import check_clock
import check_docs
import check_format
import check_headers
import check_layers
import check_protos

TOOLS = argparse.Namespace(buf="buf", clang_format="clang-format", cxx="c++")
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Tree(unittest.TestCase):
    """A folder that looks like the project, with the files a test writes."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def include(self, name, header):
        self.write(name, f'#include "{header}"\n')
        return check_layers.check(self.root)


class LayersTest(Tree):
    def test_a_service_may_include_common(self):
        self.assertEqual(self.include("services/collector/app.cc", "common/wal/wal.h"), [])

    def test_a_service_may_not_include_another_service(self):
        found = self.include("services/collector/app.cc", "services/aggregator/app.h")
        self.assertIn("services/collector/app.cc:1", found[0])

    def test_the_all_in_one_may_include_every_service(self):
        self.assertEqual(self.include("services/standalone/run.cc", "services/aggregator/app.h"),
                         [])

    def test_common_may_not_include_a_service(self):
        self.assertTrue(self.include("common/model/series.cc", "services/collector/app.h"))

    def test_base_includes_nothing_of_ours(self):
        self.assertTrue(self.include("common/base/clock.h", "common/model/series.h"))

    def test_the_log_does_not_know_samples(self):
        self.assertTrue(self.include("common/wal/wal.cc", "common/model/series.h"))

    def test_store_does_not_know_its_drivers(self):
        self.assertTrue(self.include("common/store/store.cc", "common/store/sqlite/sqlite_store.h"))

    def test_one_driver_does_not_know_the_other(self):
        self.assertTrue(self.include("common/store/sqlite/sqlite_store.cc",
                                     "common/store/postgres/postgres_store.h"))

    def test_libpqxx_stays_in_its_folder(self):
        self.assertTrue(self.include("services/aggregator/app.cc", "pqxx/pqxx"))
        self.assertTrue(self.include("common/store/store.cc", "pqxx/pqxx"))

    def test_the_driver_itself_may_include_libpqxx(self):
        self.assertEqual(self.include("common/store/postgres/postgres_store.cc", "pqxx/pqxx"), [])

    def test_sqlite_stays_in_its_folder(self):
        self.assertTrue(self.include("common/store/postgres/postgres_store.cc", "sqlite3.h"))

    def test_grpc_stays_out_of_the_core(self):
        self.assertTrue(self.include("common/model/series.h", "grpcpp/grpcpp.h"))

    def test_generated_headers_stop_at_the_service(self):
        self.assertTrue(self.include("services/collector/session.h",
                                     "weir/v1/ingest_service.pb.h"))

    def test_a_service_file_may_include_generated_headers(self):
        self.assertEqual(self.include("services/collector/ingest_service.cc",
                                      "weir/v1/ingest_service.grpc.pb.h"), [])

    def test_only_tests_include_the_fakes(self):
        self.assertTrue(self.include("services/collector/app.cc", "common/testing/fake_clock.h"))

    def test_a_unit_test_may_include_the_fakes(self):
        self.assertEqual(self.include("common/wal/wal_test.cc", "common/testing/fake_clock.h"), [])

    def test_an_unknown_folder_is_a_finding(self):
        self.assertTrue(self.include("common/util/things.cc", "string"))

    def test_an_include_in_a_comment_is_none(self):
        self.write("common/base/clock.h", '// #include "common/model/series.h"\n')
        self.assertEqual(check_layers.check(self.root), [])


class ClockTest(Tree):
    def look(self, line, name="services/collector/app.cc"):
        self.write(name, line + "\n")
        return check_clock.check(self.root)

    def test_reading_the_clock_is_caught(self):
        for line in ("auto t = absl::Now();", "absl::SleepFor(absl::Seconds(1));",
                     "auto t = std::chrono::system_clock::now();", "long t = time(nullptr);",
                     "auto t = std::time(NULL);", "sleep(1);", "::usleep(10);",
                     "auto t = std::chrono::steady_clock::now();",
                     "clock_gettime(CLOCK_REALTIME, &spec);"):
            with self.subTest(line):
                found = self.look(line)
                self.assertEqual(len(found), 1)
                self.assertIn("services/collector/app.cc:1", found[0])

    def test_the_clock_itself_may(self):
        self.assertEqual(self.look("return absl::Now();", check_clock.ALLOWED), [])

    def test_nobody_sleeps_on_this_thread(self):
        self.assertTrue(self.look("std::this_thread::sleep_for(d);", check_clock.ALLOWED))

    def test_a_benchmark_may_measure(self):
        self.assertEqual(self.look("auto t = std::chrono::steady_clock::now();", "bench/a.cc"), [])

    def test_taking_a_clock_is_fine(self):
        for line in ("clock.Now();", "clock_.Sleep(d);", "// absl::Now() is not for us.",
                     'Log("sleep(1)");', "row.time(0);", "event_time(nullptr);"):
            with self.subTest(line):
                self.assertEqual(self.look(line), [])


class DocsTest(Tree):
    def look(self, text, name="docs/a.md"):
        self.write("docs/b.md", "# The Title\n\n## What `x` does\n")
        self.write(name, text)
        return check_docs.check(self.root)

    def test_a_link_to_nowhere_is_caught(self):
        self.assertIn("docs/a.md:2", self.look("\n[b](c.md)\n")[0])

    def test_a_link_to_a_missing_heading_is_caught(self):
        self.assertTrue(self.look("[b](b.md#nothing)\n"))

    def test_good_links_pass(self):
        self.assertEqual(self.look("[b](b.md) [t](b.md#the-title) [x](b.md#what-x-does) "
                                   "[w](https://example.org/) [r](../docs/b.md)\n"), [])

    def test_code_holds_no_links(self):
        self.assertEqual(self.look("`a[0](b)`\n\n```\n[b](c.md)\n```\n"), [])

    def test_work_left_for_later_is_caught(self):
        self.assertTrue(self.look("// TO" + "DO: later\n", "common/base/a.cc"))
        self.assertTrue(self.look("# FIX" + "ME\n", "scripts/b"))

    def test_a_path_of_one_machine_is_caught(self):
        self.assertTrue(self.look("cd /ho" + "me/alice/weir\n"))


class FormatTest(Tree):
    def setUp(self):
        super().setUp()
        shutil.copy(ROOT / ".clang-format", self.root)

    def test_unformatted_code_is_caught(self):
        self.write("common/base/a.cc", "int  a ;\n")
        self.assertIn("common/base/a.cc:1", check_format.check(self.root, TOOLS.clang_format)[0])

    def test_formatted_code_passes(self):
        self.write("common/base/a.cc", "int a;\n")
        self.assertEqual(check_format.check(self.root, TOOLS.clang_format), [])

    def test_a_missing_tool_fails_instead_of_passing(self):
        self.assertTrue(check_format.check(self.root, "no-such-clang-format"))


class HeadersTest(Tree):
    def look(self, header, source='#include "common/base/a.h"\n', flags=""):
        self.write("common/base/a.h", header)
        self.write("common/base/a.cc", source)
        self.write("build/compile_commands.json", json.dumps([{
            "directory": str(self.root),
            "file": str(self.root / "common/base/a.cc"),
            "command": f"{TOOLS.cxx} -I{self.root} {flags} -std=c++20 -o a.o -c "
                       f"{self.root}/common/base/a.cc"}]))
        return check_headers.check(self.root, self.root / "build")

    def test_a_header_that_needs_another_is_caught(self):
        found = self.look("#pragma once\nstd::string name;\n",
                          '#include <string>\n#include "common/base/a.h"\n')
        self.assertIn("common/base/a.h:1", found[0])

    def test_a_precompiled_header_proves_nothing(self):
        self.assertTrue(self.look("#pragma once\nstd::string name;\n",
                                  flags="-Winvalid-pch -include cmake_pch.hxx"))

    def test_a_header_that_stands_alone_passes(self):
        self.assertEqual(self.look("#pragma once\n#include <string>\nstd::string name;\n",
                                   "#include <string>\n"), [])

    def test_a_header_its_source_includes_first_is_left_to_the_build(self):
        self.assertEqual(self.look("#pragma once\nthe build would fail\n"), [])


class ProtosTest(Tree):
    GOOD = ('syntax = "proto3";\n\npackage weir.v1;\n\n// A thing.\nmessage Thing {\n'
            '  // Its name.\n  string name = 1;\n}\n')

    def setUp(self):
        super().setUp()
        # The exceptions for files that are not here would be errors of their own.
        config = (ROOT / "proto/buf.yaml").read_text()
        kept = [line for line in config.splitlines()
                if not line.strip().startswith(("- google", "- grpc", "- opentelemetry",
                                                    "- prometheus", "ignore:"))]
        kept = "\n".join(kept).replace("weir/v1/error_reason.proto", "weir/v1/thing.proto")
        self.write("proto/buf.yaml", kept + "\n")
        self.write("proto/weir/v1/thing.proto", self.GOOD)
        self.assertEqual(check_protos.update(self.root, TOOLS.buf, False), [])

    def look(self, old, new):
        self.write("proto/weir/v1/thing.proto", self.GOOD.replace(old, new))
        return check_protos.check(self.root, TOOLS.buf)

    def test_a_good_file_passes(self):
        self.assertEqual(self.look("", ""), [])

    def test_a_field_without_a_comment_is_caught(self):
        self.assertIn("proto/weir/v1/thing.proto:7", self.look("  // Its name.\n", "")[0])

    def test_a_name_against_the_rules_is_caught(self):
        self.assertTrue(self.look("string name", "string Name"))

    def test_a_renumbered_field_breaks_clients(self):
        self.assertIn("thing.proto", self.look("name = 1", "name = 2")[0])

    def test_a_changed_type_breaks_clients(self):
        self.assertIn("thing.proto", self.look("string name", "int64 name")[0])

    def test_a_new_field_must_be_in_the_golden_dump(self):
        self.assertIn(check_protos.GOLDEN,
                      self.look("name = 1;", "name = 1;\n  // Its age.\n  int64 age = 2;")[0])

    def test_a_breaking_change_is_not_written_to_the_dump(self):
        self.look("name = 1", "name = 2")
        self.assertTrue(check_protos.update(self.root, TOOLS.buf, False))
        self.assertEqual(check_protos.update(self.root, TOOLS.buf, True), [])
        self.assertEqual(check_protos.check(self.root, TOOLS.buf), [])

    def test_a_missing_tool_fails_instead_of_passing(self):
        self.assertTrue(check_protos.check(self.root, "no-such-buf"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    for tool, default in vars(TOOLS).items():
        parser.add_argument(f"--{tool}", default=default)
    _, rest = parser.parse_known_args(namespace=TOOLS)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
