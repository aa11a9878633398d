// What chitcp perf makes of its measurements.
import Testing

@testable import ChitcpCommand

@Suite("chitcp perf's report") struct PerfReportTests {
    @Test(
        "the median is the middle value, the lower one of two middle values",
        arguments: [([3], 3), ([5, 1, 3], 3), ([4, 1, 3, 2], 2), ([1, 1, 9], 1)] as [([Double], Double)])
    func medians(values: [Double], expected: Double) {
        #expect(median(values) == expected)
    }

    @Test("without values there is no median and no percentile")
    func nothing() {
        #expect(median([]).isNaN)
        #expect(RoundTrips([]).percentile(0.5).isNaN)
    }

    @Test(
        "a percentile is the time below which that share lies",
        arguments: [(0.5, 51.0), (0.99, 100), (0, 1), (1, 100)])
    func percentiles(share: Double, expected: Double) {
        #expect(RoundTrips((1...100).reversed().map { Int64($0) }).percentile(share) == expected)
    }

    @Test(
        "a budget is kept or missed; one that needs the kernel's figure says neither without it",
        arguments: [
            (.atLeast(10), 10, nil, true), (.atLeast(10), 9.9, nil, false),
            (.atMost(10), 10, nil, true), (.atMost(10), 10.1, 1, false), (.ratioAtLeast(0.25), 1, 4, true),
            (.ratioAtLeast(0.25), 0.9, 4, false), (.ratioAtMost(3.5), 7, 2, true), (.ratioAtMost(3.5), 7.1, 2, false),
            (.ratioAtMost(3.5), 7, nil, nil),
        ] as [(PerfBudget, Double, Double?, Bool?)])
    func budgets(budget: PerfBudget, value: Double, kernel: Double?, expected: Bool?) {
        #expect(budget.isMet(by: value, kernel: kernel) == expected)
    }

    private let figures = [
        PerfFigure(
            name: "bulk", unit: .bytesPerSecond, value: 2.5e9, kernel: 5e9, budget: .ratioAtLeast(0.25)),
        PerfFigure(name: "idle", unit: .bytes, value: 3_100, kernel: nil, budget: .atMost(3_000)),
    ]

    @Test("the table has the kernel's column where the kernel was measured")
    func table() {
        #expect(
            PerfReport(kernelName: "cubic", figures: figures).table == [
                "          chitcp   kernel (cubic)   ratio   budget",
                "bulk   2.50 GB/s        5.00 GB/s    0.50   ≥ 0.25 of the kernel's   met",
                "idle     3.10 kB                -       -   ≤ 3.00 kB                MISSED",
            ])
        #expect(
            PerfReport(kernelName: nil, figures: [figures[1]]).table == [
                "        chitcp   budget",
                "idle   3.10 kB   ≤ 3.00 kB   MISSED",
            ])
    }

    @Test("JSON has null where there is no figure")
    func json() {
        #expect(
            PerfReport(kernelName: "cubic", figures: figures).json == [
                #"{"name":"bulk","unit":"bytes/s","chitcp":2500000000.0,"kernel":5000000000.0,"budgetMet":true}"#,
                #"{"name":"idle","unit":"bytes","chitcp":3100.0,"kernel":null,"budgetMet":false}"#,
            ])
    }
}
