import Core
import Testing
import Training

@Suite struct MemoryShortageTests {
  private let job = MemoryLimit(byteCount: 100, owner: .job)
  private let machine = MemoryLimit(byteCount: 1000, owner: .machine)

  @Test func theRanksOfAHostShareItsMemory() throws {
    let hosts = ["a", "b", "a", "b"]
    func shortage(_ planned: [Int], _ limits: [MemoryLimit?]) -> MemoryShortage? {
      MemoryShortage(hosts: hosts, planned: planned, limits: limits)
    }
    #expect(shortage([50, 60, 50, 40], [job, job, job, job]) == nil)
    let short = try #require(shortage([50, 60, 50, 41], [job, job, job, job]))
    #expect(short.host == "b" && short.ranks == 2 && short.plannedBytes == 101)
    #expect(short.limit == job)
    // The host that lacks most.
    #expect(shortage([70, 60, 60, 50], [job, job, job, job])?.host == "a")
    #expect(shortage([700, 60, 600, 50], [machine, job, machine, job])?.host == "a")
    #expect(shortage([400, 60, 500, 50], [machine, job, machine, job])?.limit == job)
    // The smallest of a host's limits holds; where none is known nothing is said.
    #expect(shortage([60, 0, 60, 0], [machine, job, job, job])?.limit == job)
    #expect(shortage([1 << 40, 1, 1 << 40, 1], [nil, job, nil, job]) == nil)
  }
}
