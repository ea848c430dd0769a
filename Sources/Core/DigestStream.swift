import CXXHash

/// The digest of bytes that come one run after another: the same as `Digest(of:)` of them all.
package struct DigestStream: ~Copyable {
  /// Owned; freed in `deinit`.
  private let state: OpaquePointer

  /// The digest of nothing, to which bytes are added.
  ///
  /// Throws: `Failure` (.internal) when memory is out.
  package init() throws(Failure) {
    guard let state = XXH3_createState() else {
      throw Failure(.internal, "no memory for a digest")
    }
    XXH3_128bits_reset(state)
    self.state = state
  }

  deinit { XXH3_freeState(state) }

  /// Adds a run of bytes.
  package mutating func add(_ bytes: UnsafeRawBufferPointer) {
    // It fails for a missing state or input only.
    XXH3_128bits_update(state, bytes.baseAddress, bytes.count)
  }

  /// Adds a run of bytes.
  package mutating func add(_ bytes: ArraySlice<UInt8>) {
    bytes.withUnsafeBytes { raw in
      if !raw.isEmpty { XXH3_128bits_update(state, raw.baseAddress, raw.count) }
    }
  }

  /// Of all bytes so far; more may come.
  package var digest: Digest {
    let hash = XXH3_128bits_digest(state)
    return Digest(high: hash.high64, low: hash.low64)
  }
}
