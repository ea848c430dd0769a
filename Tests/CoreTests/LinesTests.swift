import Core
import Testing

@Suite struct LinesTests {
  @Test(arguments: [
    ("", [""]), ("a", ["a"]), ("a\nb\n", ["a", "b", ""]), ("a\r\nb\r\n", ["a", "b", ""]),
    ("a\r\n\r\n\u{E4}", ["a", "", "\u{E4}"]), ("a\rb", ["a\rb"]), ("\r\n", ["", ""]),
    // Neither does a mark that combines hide the end before it.
    ("a\n\u{301}b", ["a", "\u{301}b"]),
  ])
  func linesEndWithLineFeeds(text: String, expected: [String]) {
    #expect(text.allLines.map(String.init) == expected)
    #expect(text.dropFirst(0).filledLines == expected.filter { !$0.isEmpty }.map { $0[...] })
  }

  @Test func whatTheKernelSaysIsReadWithEitherEnd() {
    let membership = "1:name=systemd:/\r\n2:cpu,memory:/job_7/step\r\n"
    let mounts = "35 30 0:30 / /cgroup/memory rw - cgroup cgroup rw,memory\r\n"
    #expect(
      MemoryGroup(membership: membership, mounts: mounts)
        == MemoryGroup(
          membership: membership.replacing("\r\n", with: "\n"),
          mounts: mounts.replacing("\r\n", with: "\n")))
    #expect(MemoryGroup(membership: membership, mounts: mounts) != nil)
    #expect(MemoryGroup.kills(in: "low 1\r\noom_kill 3\r\n") == 3)
    #expect(
      MemoryLimit(group: nil, statistics: "MemTotal:  8 kB\r\nMemFree: 1 kB\r\n")?.byteCount == 8192
    )
    // What no machine has is no number to count with.
    let impossible = "MemTotal: \(Int.max) kB\n"
    #expect(MemoryLimit(group: nil, statistics: impossible) == nil)
    #expect(MemoryLimit(group: 5, statistics: impossible)?.byteCount == 5)
  }
}
