// swift-tools-version: 6.2
import PackageDescription

// Kernels are compiled for the machine they are built on. A cluster of mixed CPUs builds once with
// the oldest of them, e.g. LOCKSTEP_MARCH=x86-64-v3; a binary on a lesser CPU says so and stops.
let march = Context.environment["LOCKSTEP_MARCH"] ?? "native"

let kernelSettings: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-march=\(march)"])]

// Nodes have no Swift: the program carries Swift's runtime and Foundation. The compiler must know,
// too, because its object files name the libraries they need.
let staticRuntime = ["-static-stdlib"]

let package = Package(
  name: "lockstep",
  products: [.executable(name: "lockstep", targets: ["lockstep"])],
  dependencies: [
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
  ],
  targets: [
    // C libraries, as Debian ships them.
    .systemLibrary(name: "CMPI", pkgConfig: "ompi-c"),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas"),
    .systemLibrary(name: "CHDF5", pkgConfig: "hdf5"),
    .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash"),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib"),
    // System calls that do not import by themselves.
    .systemLibrary(name: "CLinux"),
    // Instructions for which Swift has no names.
    .target(name: "CInstructions"),
    .target(
      name: "CSentencePiece",
      linkerSettings: [.linkedLibrary("sentencepiece"), .linkedLibrary("sentencepiece_train")]),

    // A target imports only targets above it in this list.
    .target(name: "Core", dependencies: ["CXXHash"]),
    .target(
      name: "Tensors", dependencies: ["Core", "COpenBLAS", "CInstructions"],
      swiftSettings: kernelSettings),
    .target(name: "HDF5", dependencies: ["Core", "CHDF5", "CZlib", "CLinux"]),
    .target(name: "Messaging", dependencies: ["Core", "Tensors", "CMPI"]),
    .target(name: "Layers", dependencies: ["Core", "Tensors"]),
    .target(name: "Models", dependencies: ["Core", "Tensors", "Layers"]),
    .target(name: "Optimizers", dependencies: ["Core", "Tensors"]),
    .target(name: "Datasets", dependencies: ["Core", "HDF5", "CSentencePiece"]),
    .target(
      name: "Checkpoints", dependencies: ["Core", "Tensors", "HDF5", "Messaging", "Layers"]),
    .target(
      name: "Parallelism",
      dependencies: ["Core", "Tensors", "Messaging", "Layers", "Models", "Optimizers"]),
    .target(name: "Decoding", dependencies: ["Core", "Tensors", "Layers", "Models"]),
    .target(
      name: "Training",
      dependencies: [
        "Core", "Tensors", "Messaging", "Layers", "Models", "Optimizers", "Datasets",
        "Checkpoints", "Parallelism", "Decoding", .product(name: "Yams", package: "Yams"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .target(name: "Supervision", dependencies: ["Core", "Training"]),
    .target(name: "Reporting", dependencies: ["Core", "Training"]),
    // Runs every operation of MPICommunicator under mpirun; MessagingTests starts it.
    .executableTarget(
      name: "MessagingProbe", dependencies: ["Core", "Tensors", "Messaging"],
      path: "Tests/MessagingProbe"),
    // Gives up what a reader of hostile files gives up, and tries to have it all the same.
    .executableTarget(
      name: "ConfinementProbe", dependencies: ["HDF5"], path: "Tests/ConfinementProbe"),
    // Saves checkpoints under strace; CheckpointsTests starts it.
    .executableTarget(
      name: "CheckpointProbe",
      dependencies: ["Core", "Tensors", "Messaging", "Layers", "Checkpoints"],
      path: "Tests/CheckpointProbe"),
    .executableTarget(
      name: "lockstep",
      dependencies: [
        "Core", "Tensors", "HDF5", "Messaging", "Layers", "Models", "Optimizers", "Datasets",
        "Checkpoints", "Parallelism", "Decoding", "Training", "Supervision", "Reporting",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: [.unsafeFlags(staticRuntime)], linkerSettings: [.unsafeFlags(staticRuntime)]),

    // Some start the program, which a build of the tests builds, too. None depends on it: all tests
    // would be linked as the program is, and they need the shared runtime that XCTest uses.
    .testTarget(name: "CoreTests", dependencies: ["Core"]),
    .testTarget(name: "TensorsTests", dependencies: ["Core", "Tensors"]),
    .testTarget(
      name: "HDF5Tests", dependencies: ["Core", "CHDF5", "HDF5", "ConfinementProbe"]),
    .testTarget(
      name: "MessagingTests", dependencies: ["Core", "Tensors", "Messaging", "MessagingProbe"]),
    .testTarget(name: "LayersTests", dependencies: ["Core", "Tensors", "Layers"]),
    .testTarget(
      name: "ModelsTests", dependencies: ["Core", "Tensors", "Layers", "Models"],
      resources: [.copy("Resources")]),
    .testTarget(name: "OptimizersTests", dependencies: ["Core", "Tensors", "Optimizers"]),
    .testTarget(name: "DatasetsTests", dependencies: ["Core", "Datasets"]),
    .testTarget(
      name: "CheckpointsTests",
      dependencies: [
        "Core", "Tensors", "HDF5", "Messaging", "Layers", "Models", "Checkpoints",
        "CheckpointProbe",
      ]),
    .testTarget(
      name: "ParallelismTests",
      dependencies: ["Core", "Tensors", "Messaging", "Optimizers", "Parallelism"]),
    .testTarget(
      name: "DecodingTests", dependencies: ["Core", "Tensors", "Layers", "Models", "Decoding"],
      resources: [.copy("Resources")]),
    .testTarget(
      name: "TrainingTests",
      dependencies: [
        "Core", "Models", "Training", .product(name: "Logging", package: "swift-log"),
      ]),
    .testTarget(name: "SupervisionTests", dependencies: ["Core", "Training", "Supervision"]),
    .testTarget(name: "ReportingTests", dependencies: ["Core", "Training", "Reporting"]),
    // Starts the program itself, alone and under mpirun.
    .testTarget(
      name: "IntegrationTests",
      dependencies: ["Core", "Tensors", "HDF5", "Datasets", "Layers", "Checkpoints"]),
    .testTarget(name: "StyleTests"),
  ],
  swiftLanguageModes: [.v6]
)
