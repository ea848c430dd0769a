/// How chunks of one shape cover an array: numbered in row-major order of the grid they form, those
/// at the edges sticking out over it.
///
/// A band is what must be unpacked to read elements in row-major order: the chunks that share the
/// first dimension in which one has more than one row. Of an array stored in runs of rows it is one
/// chunk; of one stored in tiles, a row of tiles. Its elements are one run of the row-major order.
struct ChunkGrid: Sendable {
  /// Of the array and of a chunk; no dimension is zero.
  let shape: [Int]
  let chunk: [Int]
  /// The dimension in which bands follow each other: above it a band has one row.
  private let split: Int
  /// Bands that have one row of the dimensions above.
  private let bandsInRow: Int
  /// Elements of one row of the dimensions above, and of one row of the split dimension.
  private let rowElementCount: Int
  private let lineElementCount: Int
  /// Chunks along each dimension below the split.
  private let tiles: [Int]

  /// Of a whole chunk, what sticks out included.
  let chunkElementCount: Int
  let chunkCount: Int
  let chunksInBand: Int

  /// nil when the chunks are none that could cover the array, or the numbers beyond all bounds.
  ///
  /// Precondition: the number of the array's elements is known to fit.
  init?(shape: [Int], chunk: [Int]) {
    guard !shape.isEmpty, shape.count == chunk.count, shape.allSatisfy({ $0 > 0 }),
      chunk.allSatisfy({ $0 > 0 })
    else { return nil }
    let counts = zip(shape, chunk).map { ($0 - 1) / $1 + 1 }
    guard let chunkElementCount = Self.product(chunk[...]), let all = Self.product(counts[...])
    else { return nil }
    self.shape = shape
    self.chunk = chunk
    self.chunkElementCount = chunkElementCount
    split = shape.indices.first { min(shape[$0], chunk[$0]) > 1 } ?? shape.count - 1
    bandsInRow = counts[split]
    lineElementCount = shape[(split + 1)...].reduce(1, *)
    rowElementCount = shape[split] * lineElementCount
    tiles = Array(counts[(split + 1)...])
    chunkCount = all
    chunksInBand = tiles.reduce(1, *)
  }

  /// Elements of the largest band.
  var bandElementCount: Int { min(shape[split], chunk[split]) * lineElementCount }

  /// The number of the band that has an element.
  func band(of element: Int) -> Int {
    let (row, rest) = element.quotientAndRemainder(dividingBy: rowElementCount)
    return row * bandsInRow + rest / lineElementCount / chunk[split]
  }

  /// The elements of a band, in row-major order.
  func elements(ofBand band: Int) -> Range<Int> {
    let (row, index) = band.quotientAndRemainder(dividingBy: bandsInRow)
    let line = index * chunk[split]
    let start = row * rowElementCount + line * lineElementCount
    return start..<start + min(chunk[split], shape[split] - line) * lineElementCount
  }

  /// Numbers of the chunks of a band.
  func chunks(ofBand band: Int) -> Range<Int> {
    band * chunksInBand..<(band + 1) * chunksInBand
  }

  /// The first element of a chunk, by its place in each dimension.
  func start(ofChunk number: Int) -> [Int] {
    var rest = number
    var start = shape
    for dimension in shape.indices.reversed() {
      let count = (shape[dimension] - 1) / chunk[dimension] + 1
      start[dimension] = rest % count * chunk[dimension]
      rest /= count
    }
    return start
  }

  /// Calls `body` for each run of elements that lie side by side both in a chunk and in its band:
  /// where it begins in either, and how many they are.
  func forEachRun(
    ofChunk number: Int, _ body: (_ inChunk: Int, _ inBand: Int, _ count: Int) -> Void
  ) {
    let start = start(ofChunk: number)
    let extent = shape.indices.map { min(chunk[$0], shape[$0] - start[$0]) }
    // The dimensions from here on are one run.
    var last = shape.count - 1
    var count = extent[last]
    while last > split, chunk[last] == shape[last] {
      last -= 1
      count *= extent[last]
    }
    var place = [Int](repeating: 0, count: shape.count)
    while true {
      var (inChunk, inBand) = (0, 0)
      for dimension in split..<shape.count {
        inChunk = inChunk * chunk[dimension] + place[dimension]
        let before = dimension == split ? 0 : start[dimension]
        inBand = inBand * shape[dimension] + before + place[dimension]
      }
      body(inChunk, inBand, count)
      var dimension = last - 1
      while dimension >= split {
        place[dimension] += 1
        if place[dimension] < extent[dimension] { break }
        place[dimension] = 0
        dimension -= 1
      }
      if dimension < split { return }
    }
  }

  private static func product(_ factors: ArraySlice<Int>) -> Int? {
    var product = 1
    for factor in factors {
      let (next, overflow) = product.multipliedReportingOverflow(by: factor)
      guard !overflow else { return nil }
      product = next
    }
    return product
  }
}
