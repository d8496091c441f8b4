"""Is there more talk than this series has ever been used to? Surprise over counts in event time.

    detector = Detector(interval_seconds=300)
    state = START
    for count in counts:
        state, reading = detector.observe(state, count)
        # Reading(score=0.61, alarm=True, severity=5, baseline=12.4, longevity_seconds=900.0, ...)

A series is one brand's counts of something in intervals of one length, one after the other. Each
interval has its *height*: the mean, over three horizons (5, 15 and 45 minutes), of the logarithm of
the count smoothed over that horizon. A needle of one interval moves the first horizon only, slow
growth moves all of them. Logarithms let one threshold serve brands of every size; a few posts are
added before they are taken, because below that chance alone multiplies.

The height is compared with the *usual peak*: mean and deviation of the highest heights of past
quarters of an hour, which forget within weeks. The surprise is how many deviations the height lies
above the mean. Peaks, not all intervals, are what a peak must be compared with: a brand whose every
day has its needles is used to needles.

What never alarms: the first day (nothing is usual yet), a series of zeros, intervals of which nothing
is known (the source was away: no count, which is not a count of zero), as many intervals after them
as were missing, because they may hold what piled up, and falling counts. An alarm is followed by a
day without another one; severity and longevity tell meanwhile how the matter goes on.

The state is a small tuple of numbers, the same size for ever. Figures, plateaus and how they are
measured: `docs/reference/early-warning.md`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

HORIZONS_SECONDS: Final = (300.0, 900.0, 2_700.0)
"""Time constants of the three smoothed counts, in seconds."""

_HIGHEST_SEVERITY: Final = 10
_LONGEST_RUN: Final = 1 << 40
_HALF_WAY: Final = 0.5
_LARGEST: Final = 1e15
_NEWTON_STEPS: Final = 50
_MOST: Final = float(1 << 31)
_HIGHEST: Final = math.log(_MOST)
_CLOSE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as surprising; the same for every brand.

    Args:
        threshold: deviations above the usual peak from which on a height alarms.
        few: posts that are added to every count before its logarithm is taken.
        peak_seconds: length of the pieces of time whose highest height is a peak.
        memory_seconds: time in which what was learned loses all but 1/e of its weight.
        least_deviation: what a deviation is never less than, in logarithms of counts; keeps a brand
            of which hardly anybody speaks from being startled by every post.
        probation_seconds: how long a new series learns before it may alarm.
        cool_down_seconds: how long after an alarm there is no other one.
        settle_seconds: longest silence after a gap; it lasts as long as the gap up to this.
        horizons_seconds: time constants of the three smoothed counts.
    """

    threshold: float = 3.8
    few: float = 3.0
    peak_seconds: float = 900.0
    memory_seconds: float = 28 * 86_400.0
    least_deviation: float = 0.1
    probation_seconds: float = 86_400.0
    cool_down_seconds: float = 86_400.0
    settle_seconds: float = 6 * 3_600.0
    horizons_seconds: tuple[float, float, float] = HORIZONS_SECONDS

    def __post_init__(self) -> None:
        above_zero = (
            self.threshold,
            self.few,
            self.peak_seconds,
            self.memory_seconds,
            self.least_deviation,
            *self.horizons_seconds,
        )
        at_least_zero = (self.probation_seconds, self.cool_down_seconds, self.settle_seconds)
        if not all(0 < each < math.inf for each in above_zero):
            raise ValueError("Threshold, few, times and least deviation are above zero.")
        if not all(0 <= each < math.inf for each in at_least_zero):
            raise ValueError("Probation, cool-down and settling are not negative.")


class State(NamedTuple):
    """All that is remembered of a series; plain numbers, of constant size.

    Args:
        seen: intervals with a count, gaps not included.
        short, middle, long: counts smoothed over HORIZONS_SECONDS.
        peak: highest height of the piece of time that has begun.
        filled: intervals of that piece so far.
        weight: decayed number of peaks learned.
        mean: decayed mean of the peaks.
        spread: decayed sum of their squared distances from the mean.
        missing: intervals of the gap that has not ended yet.
        settling: intervals for which what comes after a gap is still left alone.
        cooling: intervals until the next alarm is possible.
        run: intervals for which the surprise has been at least half the threshold.
    """

    seen: int = 0
    short: float = 0.0
    middle: float = 0.0
    long: float = 0.0
    peak: float = -math.inf
    filled: int = 0
    weight: float = 0.0
    mean: float = 0.0
    spread: float = 0.0
    missing: int = 0
    settling: int = 0
    cooling: int = 0
    run: int = 0


START: Final = State()
"""The state of a series of which nothing was counted."""


class Reading(NamedTuple):
    """What one interval means.

    Args:
        score: 0..1, grows with the surprise; an interval of 0.5 and more is alarming, and alarms
            unless an alarm stands already. 0 while there is nothing to compare with.
        alarm: whether this interval raises the alarm.
        severity: 1..10; 1 is usual, 4 and more is alarming.
        baseline: count of an interval as it usually is at its peak; 0 while nothing is known.
        longevity_seconds: for how long the surprise has lasted, this interval included.
        surprise: deviations above the usual peak, never negative.
    """

    score: float
    alarm: bool
    severity: int
    baseline: float
    longevity_seconds: float
    surprise: float


class Detector:
    """The arithmetic of one policy at one length of interval; holds no series.

    Args:
        interval_seconds: length of an interval.
        policy: what counts as surprising.

    Raises:
        ValueError: the interval is not positive and finite.
    """

    __slots__ = (
        "_cool_down",
        "_decay",
        "_few",
        "_gains",
        "_peak_intervals",
        "_probation",
        "_settle",
        "_unusual",
        "_young",
        "interval_seconds",
        "policy",
    )

    def __init__(self, interval_seconds: float = 300.0, policy: Policy | None = None) -> None:
        if not 0 < interval_seconds < math.inf:
            raise ValueError("An interval is longer than nothing and ends.")
        self.interval_seconds = interval_seconds
        self.policy = Policy() if policy is None else policy
        self._few = self.policy.few
        short, middle, long = self.policy.horizons_seconds
        self._gains = tuple(
            -math.expm1(-interval_seconds / seconds) for seconds in (short, middle, long)
        )
        self._peak_intervals = max(1, round(self.policy.peak_seconds / interval_seconds))
        self._decay = math.exp(
            -self._peak_intervals * interval_seconds / self.policy.memory_seconds
        )
        self._unusual = _HALF_WAY * self.policy.threshold
        # From so many intervals on no horizon takes the mean of what was seen.
        self._young = math.ceil(1.0 / min(self._gains))
        self._probation = math.ceil(self.policy.probation_seconds / interval_seconds)
        self._cool_down = math.ceil(self.policy.cool_down_seconds / interval_seconds)
        self._settle = max(1, math.floor(self.policy.settle_seconds / interval_seconds))

    def observe(self, state: State, count: float | None) -> tuple[State, Reading]:
        """Return the state and the reading after the next interval.

        Args:
            state: of the series so far; START for a new one.
            count: posts of the interval, not negative (above 10^15 they are not told apart); None if
                nothing is known of it (a gap).

        Raises:
            ValueError: the count is negative, infinite or not a number.
        """
        if count is None:
            return self.miss(state, 1), self._quiet(state)
        if not 0 <= count < math.inf:
            raise ValueError("A count is a number from zero on.")
        if state.missing or state.settling:
            # What piled up during a gap says nothing of the present, nor of what is usual.
            left = min(state.missing, self._settle) if state.missing else state.settling
            cooling = state.cooling - 1 if state.cooling else 0
            after = state._replace(missing=0, settling=left - 1, cooling=cooling)
            return after, self._quiet(state)
        new, surprise = self.step(state, count)
        threshold = self.policy.threshold
        alarm = surprise >= threshold and not state.cooling
        if alarm:
            new = new._replace(cooling=self._cool_down)
        return new, Reading(
            surprise / (surprise + threshold),
            alarm,
            severity_of(surprise, threshold),
            self.baseline(state),
            new.run * self.interval_seconds,
            surprise,
        )

    def step(self, state: State, count: float) -> tuple[State, float]:
        """Return the state and the surprise after an interval with a count, and no gap before it.

        What `observe` does, without alarms and the rest of a reading.
        """
        (seen, short, middle, long, peak, filled, weight, mean, spread, _, _, cooling, run) = state
        if seen < self._young or count > _LARGEST:
            short, middle, long = self._smoothed(state, min(count, _LARGEST))
        else:  # as `_smoothed`
            first, second, third = self._gains
            short += first * (count - short)
            middle += second * (count - middle)
            long += third * (count - long)
        height = self._height(short, middle, long)
        surprise = self._surprise(state, height) if height > mean else 0.0
        peak = max(peak, height)
        filled += 1
        if filled >= self._peak_intervals:
            weight = weight * self._decay + 1.0
            off = peak - mean
            mean += off / weight
            spread = spread * self._decay + off * (peak - mean)
            peak, filled = -math.inf, 0
        run = min(run + 1, _LONGEST_RUN) if surprise >= self._unusual else 0
        cooling = cooling - 1 if cooling else 0
        return (
            State(
                seen + 1,
                short,
                middle,
                long,
                peak,
                filled,
                weight,
                mean,
                spread,
                0,
                0,
                cooling,
                run,
            ),
            surprise,
        )

    def miss(self, state: State, intervals: int) -> State:
        """Return the state after intervals of which nothing is known.

        They change nothing of what is usual; `observe` leaves as many intervals alone afterwards.
        """
        if intervals <= 0:
            return state
        return state._replace(
            missing=min(state.missing + state.settling + intervals, _LONGEST_RUN),
            settling=0,
            cooling=max(0, state.cooling - intervals),
            peak=-math.inf,
            filled=0,
            run=0,
        )

    def rest(self, state: State, intervals: int) -> State:
        """Return the state after intervals with a count of zero: as `observe`, several times as fast.

        What it leaves out changes nothing: heights only fall, so that the first of a piece is its
        peak, and falling heights neither alarm nor lengthen a surprise.
        """
        while intervals > 0 and (state.missing or state.settling or state.seen < self._young):
            state, _ = self.observe(state, 0.0)
            intervals -= 1
        if intervals <= 0:
            return state
        seen, short, middle, long, peak, filled, weight, mean, spread = state[:9]
        first, second, third = self._gains
        whole, decay = self._peak_intervals, self._decay
        for _ in range(intervals):
            short -= first * short
            middle -= second * middle
            long -= third * long
            if not filled or peak == -math.inf:
                peak = self._height(short, middle, long)
            filled += 1
            if filled >= whole:
                weight = weight * decay + 1.0
                off = peak - mean
                mean += off / weight
                spread = spread * decay + off * (peak - mean)
                peak, filled = -math.inf, 0
        return State(
            seen + intervals,
            short,
            middle,
            long,
            peak,
            filled,
            weight,
            mean,
            spread,
            cooling=max(0, state.cooling - intervals),
        )

    def surprise(self, state: State, count: float) -> float:
        """Return the surprise that `observe` would find; grows with the count."""
        if state.missing or state.settling:
            return 0.0
        return self._surprise(state, self._height(*self._smoothed(state, min(count, _LARGEST))))

    def least_surprising(self, state: State, surprise: float) -> float:
        """Return the least whole count of the next interval with this surprise; inf if there is none.

        The bar of an interval that is not over: what has been counted so far can only grow.
        """
        if state.missing or state.settling or state.seen < self._probation or not state.weight:
            return math.inf
        wanted = state.mean + surprise * self._deviation(state)
        # A height is never above that of a steady series of its highest smoothed count.
        count = math.exp(min(wanted, _HIGHEST)) - self._few
        if count < max(state.short, state.middle, state.long):
            count = 0.0
        first, second, third = self._gains
        # The height is concave in the count: Newton's steps from below never pass the solution.
        for _ in range(_NEWTON_STEPS):
            short, middle, long = self._smoothed(state, count)
            missing = wanted - self._height(short, middle, long)
            if missing <= _CLOSE:
                break
            slope = first / (short + self._few) + second / (middle + self._few)
            slope += third / (long + self._few)
            count += 3.0 * missing / slope
            if count > _MOST:
                return math.inf
        count = float(math.floor(count))
        while self.surprise(state, count) < surprise:
            count += 1.0
        while count and self.surprise(state, count - 1.0) >= surprise:
            count -= 1.0
        return count

    def after_zeros(self, intervals: int) -> State:
        """Return the state of a series in which nothing was said, without walking through it.

        Args:
            intervals: how long; not negative.
        """
        pieces, filled = divmod(intervals, self._peak_intervals)
        level = self._height(0.0, 0.0, 0.0)
        return State(
            seen=intervals,
            peak=level if filled else -math.inf,
            filled=filled,
            weight=(1.0 - self._decay**pieces) / (1.0 - self._decay),
            mean=level if pieces else 0.0,
        )

    def after(self, counts: Mapping[int, float], first: int, last: int) -> State:
        """Return the state after intervals of which those that are not named had a count of zero.

        Args:
            counts: by interval; those outside are left aside.
            first: the earliest interval.
            last: the latest one, included.
        """
        state, at = START, first
        for interval in sorted(counts):
            if first <= interval <= last:
                state = self.rest(state, interval - at)
                state, _ = self.step(state, counts[interval])
                at = interval + 1
        return self.rest(state, last + 1 - at)

    def with_past(self, state: State, past: State) -> State:
        """Return the state of a series of which more is known: what was usual before it began.

        Neither alarms nor longevity change by it, but a young series may alarm from now on.

        Args:
            state: of the series.
            past: of the time before, for instance of `after`.
        """
        if not past.weight:
            return state
        weight = state.weight + past.weight
        apart = state.mean - past.mean
        known = state._replace(
            seen=state.seen + past.seen,
            weight=weight,
            mean=(state.weight * state.mean + past.weight * past.mean) / weight,
            spread=state.spread + past.spread + apart * apart * state.weight * past.weight / weight,
        )
        if state.seen:
            return known
        return known._replace(short=past.short, middle=past.middle, long=past.long)

    def _smoothed(self, state: State, count: float) -> tuple[float, float, float]:
        """Return the smoothed counts; a young series takes the mean of what it has seen."""
        first, second, third = self._gains
        least = 1.0 / (state.seen + 1)
        short, middle, long = state.short, state.middle, state.long
        return (
            short + (max(least, first)) * (count - short),
            middle + (max(least, second)) * (count - middle),
            long + (max(least, third)) * (count - long),
        )

    def _height(self, short: float, middle: float, long: float) -> float:
        few, log = self._few, math.log
        return (log(short + few) + log(middle + few) + log(long + few)) / 3.0

    def _surprise(self, state: State, height: float) -> float:
        if state.seen < self._probation or not state.weight:
            return 0.0
        above = height - state.mean
        if above <= 0.0:
            return 0.0
        return above / self._deviation(state)

    def _deviation(self, state: State) -> float:
        deviation = math.sqrt(state.spread / state.weight) if state.spread > 0.0 else 0.0
        return max(deviation, self.policy.least_deviation)

    def baseline(self, state: State) -> float:
        """Return the count of an interval as it usually is at its peak; 0 while nothing is known."""
        return max(0.0, math.exp(state.mean) - self._few) if state.weight else 0.0

    def _quiet(self, state: State) -> Reading:
        return Reading(
            0.0,
            alarm=False,
            severity=1,
            baseline=self.baseline(state),
            longevity_seconds=0.0,
            surprise=0.0,
        )


def severity_of(surprise: float, threshold: float) -> int:
    """Return 1..10: 1 is usual, 4 is at the threshold, 10 at twice of it."""
    share = surprise / threshold
    if share < 1.0:
        return 1 + int(3.0 * share)
    return min(_HIGHEST_SEVERITY, 4 + int(min(6.0 * (share - 1.0), 6.0)))


def doubled_severity(times: float, begin: int) -> int:
    """Return the severity of what is so many times its bound: one more for each doubling, 10 at most.

    Args:
        times: 1 at the bound.
        begin: severity at the bound.
    """
    severity = begin
    while times >= 2 and severity < _HIGHEST_SEVERITY:
        times /= 2
        severity += 1
    return severity


def to_plain(state: State) -> list[Any]:
    """Return a state as a list that JSON can hold; `from_plain` makes the same state of it."""
    plain: list[Any] = list(state)
    if state.peak == -math.inf:  # JSON knows no infinity
        plain[State._fields.index("peak")] = None
    return plain


def from_plain(plain: Any) -> State:
    """Return the state that `to_plain` has written.

    Raises:
        ValueError: it is no such list.
    """
    if isinstance(plain, list) and len(plain) == len(State._fields):
        at = State._fields.index("peak")
        plain = [*plain[:at], -math.inf if plain[at] is None else plain[at], *plain[at + 1 :]]
        try:
            state = msgspec.convert(plain, State)
        except msgspec.ValidationError:
            raise ValueError("This is no state of a series.") from None
        if not any(math.isnan(number) for number in state):
            return state
    raise ValueError("This is no state of a series.")
