import Core
import Foundation
import Messaging
import Tensors

/// A rank of a job that checks MPI itself: `mpirun -np N MessagingProbe MODE`.
///
/// Modes: `check [PIECE_LIMIT]` runs every operation, `separated` the same with every rank a node
/// of its own; `layout` prints the number of ranks of each node; `abort` lets the last rank end
/// the job with exit code 80 while the others wait; `truncate` receives less than is sent, from the
/// opposite rank (with one rank: itself); `different CALL CALL` lets rank 0 do the first and the
/// others the second; `sparse` looks at memory nobody touched; `room` shares more than there is;
/// `unfinished` forgets a transfer; `late` lets rank 0 wait for all others, of whom the last comes
/// late, and prints what it says about that; `loop SECONDS` sums until then; `cost` measures.
@main struct MessagingProbe {
  static func main() {
    var communicator: (any Communicator)?
    do throws(Failure) {
      let arguments = CommandLine.arguments.dropFirst().map { $0 }
      let started: any Communicator
      if arguments.first == "check" {
        let plain = try MPICommunicator()
        if arguments.count > 1, let limit = Int(arguments[1]) { plain.pieceLimit = limit }
        started = plain
      } else {
        started = try Launch.communicator()
      }
      communicator = started
      try run(started, arguments)
      try started.finish()
    } catch {
      FileHandle.standardError.write(Data((error.message + "\n").utf8))
      communicator?.abort(error.exitCode)
      exit(error.exitCode.rawValue)
    }
  }

  static func run(_ communicator: any Communicator, _ arguments: [String]) throws(Failure) {
    let isFirst = communicator.rank == 0
    switch arguments.first {
    case "check", "separated":
      if arguments.first == "separated" { communicator.separateNodes() }
      try checkEveryOperation(of: communicator)
      // mpirun passes this on: the test counts one a rank.
      say("rank \(communicator.rank) is fine")
    case "layout":
      let nodes = communicator.nodes
      let counts = (0..<nodes.count).map { String(nodes.ranks(of: $0).count) }
      if isFirst { say("layout " + counts.joined(separator: ",")) }
    case "abort":
      if communicator.rank == communicator.size - 1 { communicator.abort(.diverged) }
      try communicator.barrier()
    case "truncate":
      let room = FloatBuffer(count: 8)
      let peer = communicator.size - 1 - communicator.rank
      try communicator.exchange([
        .receive(into: room.view[0..<3], from: peer), .send(room.view[3..<8], to: peer),
      ])
    case "different":
      guard arguments.count == 3 else { throw Failure(.usage, "MessagingProbe: two calls, please") }
      try call(arguments[isFirst ? 1 : 2], communicator)
    case "sparse": try checkUntouchedMemory(communicator)
    case "room": try shareTooMuch(communicator)
    case "unfinished":
      let room = FloatBuffer(count: 1)
      let peer = communicator.size - 1 - communicator.rank
      _ = try communicator.start([.receive(into: room.view, from: peer)], channel: 1)
    case "late": try waitForAll(communicator)
    case "loop": try sumFor(seconds: arguments.dropFirst().first, communicator)
    case "cost": try measure(communicator)
    default:
      throw Failure(.usage, "MessagingProbe: expected a mode, found \(arguments)")
    }
  }

  /// Rank 0 speaks up after two seconds; the last rank sends after five.
  private static func waitForAll(_ communicator: any Communicator) throws(Failure) {
    let room = FloatBuffer(count: communicator.size)
    let last = communicator.size - 1
    guard communicator.rank == 0 else {
      if communicator.rank == last { Thread.sleep(forTimeInterval: 5) }
      return try communicator.exchange([.send(room.view[0..<1], to: 0)])
    }
    try communicator.waits.start(limitSeconds: 2) { line, _ in say(line) }
    try communicator.exchange(
      (1...last).map { .receive(into: room.view[$0..<$0 + 1], from: $0) })
  }

  static func say(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }

  private static func call(_ name: String, _ communicator: any Communicator) throws(Failure) {
    let room = FloatBuffer(count: 3)
    switch name {
    case "barrier": try communicator.barrier()
    case "broadcast": _ = try communicator.broadcast([1], from: 0)
    case "gather": _ = try communicator.allGather(bytes: [1])
    case "agree": _ = try communicator.agree(1)
    case "sum2": try communicator.allReduceSum(room.view[0..<2])
    case "sum3": try communicator.allReduceSum(room.view)
    case "weights": _ = try communicator.shareNodeMemory(count: 1, "weights")
    case "gradients": _ = try communicator.shareNodeMemory(count: 1, "gradients")
    case "counters": _ = try communicator.shareNodeCounters(count: 1)
    case "nodeBarrier": try communicator.nodeBarrier()
    case "exchange1": try communicator.declare("exchange 1 of 5 floats")
    case "exchange2": try communicator.declare("exchange 2 of 5 floats")
    case "finish": break
    default: throw Failure(.usage, "MessagingProbe: there is no call \(name)")
    }
  }
}
