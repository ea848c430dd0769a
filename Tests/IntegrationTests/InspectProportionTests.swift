import Core
import HDF5
import Testing

/// What `inspect` prints of a file is in proportion to it.
@Suite struct InspectProportionTests {
  @Test func aLongNameDoesNotWidenEveryLine() throws {
    let scratch = try Scratch()
    let file = try File.create(at: scratch.path + "/file.h5")
    let long = String(repeating: "n", count: 250)
    try file.write([Float(1)], to: "/" + long)
    for index in 0..<200 {
      try file.write([Float(1)], to: "/\(index)")
      try file.setAttribute("\(index)", to: .text("t"))
    }
    try file.setAttribute(long, to: .text("t"))
    try file.close()
    let outcome = try scratch.run(["inspect", "file.h5"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.contains("/" + long) && outcome.output.contains("  " + long))
    // A line of the table has 62 characters beside the name.
    #expect(outcome.output.split(separator: "\n").count { $0.count > 160 } == 2)
  }

  @Test func ofATextOfManyLinesTheRestIsCounted() throws {
    let scratch = try Scratch()
    let file = try File.create(at: scratch.path + "/file.h5")
    // Windows ends its lines like this.
    try file.setAttribute("text", to: .text((1...130).map { "line \($0)\r\n" }.joined()))
    try file.close()
    let lines = try scratch.run(["inspect", "file.h5"]).output.split(separator: "\n")
    #expect(lines.contains("        line 100") && !lines.contains("        line 101"))
    #expect(lines.contains("  (31 more lines; --json has them all)"))
  }
}
