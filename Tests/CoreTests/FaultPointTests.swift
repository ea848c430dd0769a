import Core
import Testing

@Suite struct FaultPointTests {
  @Test func everyActionReadsAsItIsWritten() throws {
    let text =
      "start:0:0:stop,load:1:2:kill,forward:3:-1:exit:75,update:4:1:trap@2,save:5:0:spin"
      + ",evaluate:6:0:skip,backward:7:1:nan,exchange:8:1:skip@1,load:9:3:flip"
      + ",publish:-1:0:kill"
    let faults = try FaultPoint.parse(text)
    let written = faults.map { fault in
      "\(fault.point.rawValue):\(fault.step):\(fault.rank):\(fault.action)"
        + (fault.incarnation.map { "@\($0)" } ?? "")
    }
    #expect(written.joined(separator: ",") == text)
  }

  @Test(arguments: [
    "load", "load:1:0", "load:x:0:kill", "load:1:-2:kill", "load:-2:1:kill",
    "nowhere:1:0:kill", "load:1:0:jump",
    "load:1:0:exit", "load:1:0:exit:x", "load:1:0:kill:1", "load:1:0:kill@", "load:1:0:kill@1@2",
    "load:1:0:skip", "forward:1:0:nan", "start:0:0:flip", "load:1:0:kill,x",
  ])
  func whatIsNoFaultIsRefused(text: String) {
    #expect {
      try FaultPoint.parse(text)
    } throws: { error in
      (error as? Failure)?.exitCode == .usage
    }
  }

  @Test func withoutTheVariableNothingHappens() {
    for point in FaultPoint.allCases { #expect(point.reached(step: 0) == nil) }
  }
}
