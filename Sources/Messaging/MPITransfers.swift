import CMPI
import Core
import Foundation
import Tensors

extension MPICommunicator {
  package func start(
    _ transfers: [Transfer], channel: Int
  ) throws(Failure) -> any PendingTransfers {
    precondition(0...32_767 ~= channel, "every MPI has tags up to 32767")
    let tag = Int32(channel)
    let pending = MPIPendingTransfers(of: self)
    for transfer in try exchangeWithSelf(transfers) {
      switch transfer {
      case .send(let vector, let peer):
        let number = number(of: peer)
        for piece in pieces(of: vector.count) {
          var request: MPI_Request?
          try check(
            MPI_Isend(
              vector.base + piece.lowerBound, Int32(piece.count), lockstep_mpi_float(), number,
              tag, world, &request),
            "MPI_Isend of \(vector.count) floats to rank \(peer)")
          pending.add(request, with: peer, expected: nil)
        }
      case .receive(let vector, let peer):
        let number = number(of: peer)
        for piece in pieces(of: vector.count) {
          var request: MPI_Request?
          try check(
            MPI_Irecv(
              vector.base + piece.lowerBound, Int32(piece.count), lockstep_mpi_float(), number,
              tag, world, &request),
            "MPI_Irecv of \(vector.count) floats from rank \(peer)")
          pending.add(request, with: peer, expected: piece.count)
        }
      }
    }
    unfinishedCount += 1
    return pending
  }
}

/// The requests of one start; dropped before they are done they stay with MPI, as do the vectors.
private final class MPIPendingTransfers: PendingTransfers {
  private let communicator: MPICommunicator
  private var requests: [MPI_Request?] = []
  /// By request: the floats a receive expects, nothing for a send.
  private var expected: [Int?] = []
  /// By request: the rank at the other end.
  private var peers: [Int] = []
  private var isFinished = false

  init(of communicator: MPICommunicator) { self.communicator = communicator }

  func add(_ request: MPI_Request?, with peer: Int, expected count: Int?) {
    requests.append(request)
    expected.append(count)
    peers.append(peer)
  }

  func isDone() throws(Failure) -> Bool {
    if isFinished { return true }
    var flag: Int32 = 1
    var statuses = [MPI_Status](repeating: MPI_Status(), count: requests.count)
    if !requests.isEmpty {
      let code = MPI_Testall(try requestCount(), &requests, &flag, &statuses)
      try check(code, statuses, "MPI_Testall")
    }
    if flag != 0 { try finish(statuses) }
    return isFinished
  }

  func wait() throws(Failure) {
    if isFinished { return }
    defer { communicator.waits.end() }
    guard peers.allSatisfy({ $0 == peers[0] }) else { return try waitForSeveral() }
    var statuses = [MPI_Status](repeating: MPI_Status(), count: requests.count)
    if !requests.isEmpty {
      communicator.waits.begin(.messages, peers[0])
      let code = MPI_Waitall(try requestCount(), &requests, &statuses)
      try check(code, statuses, "MPI_Waitall")
    }
    try finish(statuses)
  }

  /// Looks again and again: inside of `MPI_Waitall` nobody sees who of several ranks is late.
  ///
  /// Of one rank there is nothing to find out, and where `MPI_Testall` has looked before,
  /// `MPI_Waitall` (OpenMPI 4.1.4) may wait for ever instead of reporting a truncated message.
  private func waitForSeveral() throws(Failure) {
    communicator.waits.begin(.messages)
    var told = Stopwatch()
    while try !isDone() {
      if told.seconds > 0.5 {
        communicator.waits.found(place: "", missing: try missingRanks())
        told = Stopwatch()
      }
      // More ranks than cores: whoever is waited for may need this one.
      sched_yield()
    }
  }

  func missingRanks() throws(Failure) -> [Int] {
    var missing: Set<Int> = []
    for (request, peer) in zip(requests, peers) where !missing.contains(peer) {
      var flag: Int32 = 0
      try communicator.check(
        MPI_Request_get_status(request, &flag, lockstep_mpi_status_ignore()),
        "MPI_Request_get_status")
      if flag == 0 { missing.insert(peer) }
    }
    return missing.sorted()
  }

  private func requestCount() throws(Failure) -> Int32 {
    guard let count = Int32(exactly: requests.count) else {
      throw Failure(
        .internal, "exchange on rank \(communicator.rank): \(requests.count) messages at once")
    }
    return count
  }

  private func check(
    _ code: Int32, _ statuses: [MPI_Status], _ operation: String
  ) throws(Failure) {
    if code == lockstep_mpi_errors_in_status() {
      for status in statuses where status.MPI_ERROR != lockstep_mpi_pending() {
        try communicator.check(status.MPI_ERROR, "message with rank \(status.MPI_SOURCE)")
      }
    }
    try communicator.check(code, "\(operation) of \(requests.count) messages")
  }

  /// Checks that every message had the length its receiver expects.
  private func finish(_ statuses: [MPI_Status]) throws(Failure) {
    for (var status, count) in zip(statuses, expected) {
      guard let count else { continue }
      var received: Int32 = 0
      try communicator.check(
        MPI_Get_count(&status, lockstep_mpi_float(), &received), "MPI_Get_count")
      guard received == count else {
        throw Failure(
          .internal,
          "exchange on rank \(communicator.rank): rank \(status.MPI_SOURCE) sent \(received) "
            + "floats where \(count) were expected")
      }
    }
    requests = []
    expected = []
    peers = []
    isFinished = true
    communicator.unfinishedCount -= 1
  }
}
