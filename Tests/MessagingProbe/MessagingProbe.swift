import Core
import Foundation
import Messaging
import Tensors

/// A rank of a job that checks MPI itself: `mpirun -np N MessagingProbe MODE`.
///
/// Modes: `check [PIECE_LIMIT]` runs every operation; `abort` lets the last rank end the job with
/// exit code 80 while the others wait; `truncate` receives less than is sent,
/// from the opposite rank (with one rank: itself).
@main struct MessagingProbe {
  static func main() {
    var communicator: MPICommunicator?
    do throws(Failure) {
      let started = try MPICommunicator()
      communicator = started
      try run(started, CommandLine.arguments.dropFirst().map { $0 })
      try started.finish()
    } catch {
      FileHandle.standardError.write(Data((error.message + "\n").utf8))
      communicator?.abort(error.exitCode)
      exit(error.exitCode.rawValue)
    }
  }

  static func run(_ communicator: MPICommunicator, _ arguments: [String]) throws(Failure) {
    switch arguments.first {
    case "check":
      if arguments.count > 1, let limit = Int(arguments[1]) { communicator.pieceLimit = limit }
      try checkEveryOperation(of: communicator)
      // mpirun passes this on: the test counts one a rank.
      FileHandle.standardOutput.write(Data("rank \(communicator.rank) is fine\n".utf8))
    case "abort":
      if communicator.rank == communicator.size - 1 { communicator.abort(.diverged) }
      try communicator.barrier()
    case "truncate":
      let room = FloatBuffer(count: 8)
      let peer = communicator.size - 1 - communicator.rank
      try communicator.exchange([
        .receive(into: room.view[0..<3], from: peer), .send(room.view[3..<8], to: peer),
      ])
    default:
      throw Failure(.usage, "MessagingProbe: expected a mode, found \(arguments)")
    }
  }
}
