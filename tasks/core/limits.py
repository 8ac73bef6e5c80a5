"""All limits of the proof: what decides between right, wrong and not proven. A limit that follows from another one
is computed from it.
"""

# --- the verdict
NOISE_LIMIT = 8.0  # of the pooled noise ratio: true exports gave up to 4, wrong constants thousands
SLICE_LIMIT = 16.0  # of the noise ratio of one slice, which pools fewer elements
MAX_SLICES = 4096  # axes longer than this are not judged slice by slice
CANCELLED = 1e-3  # noise of a slice, as a share of its own rms, from which it has no scale of its own
MIN_SLICE_ELEMENTS = 8
"""Elements of torch32's noise without which a slice's floor is luck: Student's t at 8 degrees of
freedom exceeds 16 once in four million slices, at 2 once in two hundred and fifty."""
UNSTABLE_LIMIT = 0.01  # share of integers that torch32 itself gets wrong, above which nothing can be said

# --- power: could the probes have seen a difference?
MOVEMENT_LIMIT = 100.0  # multiple of the noise by which an output must move with its input to be compared
JUDGED_FAMILIES = ("normal", "range", "sample")  # zeros and wide inputs may silence or saturate a sound model
LENIENT_FAMILIES = ("special", "extreme", "rows", "masks")  # values on which the module itself may give NaN, or raise
LUCKY_SHARE = 0.05  # share of the largest errors that may be luck, as where the nearest of many codes is taken
SATURATION_LIMIT = 0.99  # share of elements at an extreme whatever the input, above which too few are compared

# --- does the module take the same way in every run?
NOISE_OF_SCALE = 1e-2  # error of float32 itself, of an output's scale, in which an error of the file could hide
WAY_LIMIT = 1e-3  # difference of two ways through a module, of an output's scale, that no rounding explains
SUSPICIOUS_NOISE = 1e-4  # error of float32 itself, of the scale, at which it is looked whether float64 goes another way
UNEXPLAINED = 100.0  # multiple of what one rounding of inputs and weights makes of the answers, beyond which it may

# --- items of outputs sized by data, such as a detector's
MATCHING_IOU = 0.5  # least intersection over union of two boxes that may be one item (PASCAL VOC's)
BOX_MARGIN = 1e-3  # by which boxes are widened before they are matched, as a share of the largest coordinate
EDGE = NOISE_LIMIT  # multiple of the noise within which a score or an overlap may fall on either side of a threshold
EXCUSED_LIMIT = 0.1  # share of the items that could not be compared, above which nothing can be said
LEAST_AGREEMENT = 0.95  # share of items that two runs of the module must have in common to be held against
NUM_SHAKEN = 16  # runs whose weights are off by as much as float32 itself, to see whether an item comes and goes
MAX_ROUNDINGS = 4096.0  # by which the weights of such a run are off at most
JUMP = 1000.0  # multiple of the usual noise at which a matched item of a reference run is another item

# --- how many runs, and for how long
SMALL_OUTPUT = 64  # outputs with fewer elements over a family's probes get more seeds: one small error may be luck
NUM_SEEDS = 8  # further seeds, or perturbed runs where seeds change nothing, for such outputs
NUM_PERTURBED = 2  # perturbed runs of the first probe of each family
NUM_SECOND_RUNS = 8  # perturbed runs of every probe of a family before it is called wrong
NUM_OTHER_CHOICES = 8  # runs in which choices among equal values fall otherwise, two by two in opposite directions
MAX_MISSING_PROBES = 8  # tables of which the rows that a file does not hold are looked up
MAX_ALTERED_PROBES = 4  # at which it is looked whether the file computes with such a constant
NUM_STAND_INS = 4  # perturbed float32 runs whose mean with torch32 stands in for float64 where there is none
MIN_PROVING_SECONDS = 20.0  # optional probes are run for at least as long, or for as long as the export took
MAX_LEVELS_BYTES = 1 << 29  # of a file that is opened at levels basic and extended, too: opening copies its weights
BEYOND_LUCK = 1000.0  # noise ratio that no luck explains: luck alone gave one probe of a true export 52
ROW_LIMIT = 4.0  # errors of rows answered together, as a multiple of their errors before; a true ratio is near 1

MIN_JOINT_ROWS = 4  # of several probes that are run together: little more memory than the largest batch in float32
MAX_JOINT_ROWS = 16
MAX_JOINT_ELEMENTS = 1 << 16  # over all inputs, for more rows than the least

# --- does the file compute with a constant that should be a weight?
VISIBLE = 30.0  # multiple of the noise by which a change of a weight must move the answers for it to be recognised
SHARE_LIMIT = 0.5  # share of such a change in a file's answers from which the file computes with the changed weight
CHANCE_LIMIT = 4.0  # multiple of the share that the module's own noise looks like, beyond which it is no chance

# --- the search for the wrong node
CLOSER_LOOK = 2.0  # noise ratio beyond which the nodes of a file that passes are looked at one by one
MATCHING_LIMIT = 3 * NOISE_LIMIT  # noise ratio up to which a value of a file is the module's: one probe is not pooled
SEARCH_LIMITS = (MATCHING_LIMIT, MATCHING_LIMIT / 3, MATCHING_LIMIT / 6)  # the next one where nothing is found wrong
PEAK_LIMIT = 256.0  # the same of the largest error of one element, beyond as many roundings of the element itself
SMALL_VALUE = SMALL_OUTPUT  # values of fewer elements have the largest error for noise: the mean may be luck
NUM_TRACED = 3  # perturbed runs in which the noise of every value is measured
OWN_LIMIT = 100.0  # noise ratio of a node's result beyond which it is wrong, however little reaches the outputs
CLOSE = 0.3  # relative difference up to which a node is taken to be meant to compute a value
FEW_CLOSE = 0.03  # the same of values of few elements, which may be alike by chance
NUM_CALLS = 6  # values of the module that a suspect may have been meant to compute, at most
NUM_FEEDS = 8  # values that it may have been meant to take, at most, for each of those
MAX_SEARCH_NODES = 20_000  # of a wrong file: the largest of the zoo has 12,000 nodes, and 100,000 take an hour
SEARCH_SECONDS = 120.0  # of a wrong file, until the search is given up: that in a video model took ten minutes

# --- sizes
MAX_JOINT_RUNS = 60  # of a module that refuses to have sizes varied alone, to find those that grow together
MAX_SYMBOLIC_SECONDS = 20.0  # of the processor: shifted and padded windows nest sizes so deep that they take longer
MAX_SYMBOLIC_RUNS = 16  # runs with symbols for sizes, each beyond another branch; nothing known needs more than four
MAX_OTHER_WAYS = 8  # further cases: a loop that counts by doubling has a branch at every power of two
MAX_TRIES = 12  # cases at which the module is run for one branch, until it takes one
MAX_RUN_SECONDS = 10.0  # of the processor, estimated, of a run at further sizes: a proof takes some five times as long
MAX_WATCHED_SECONDS = 10.0  # of the processor, of all runs whose instructions are compared
MAX_RUN_ELEMENTS = 1 << 24  # over all inputs of a run at further sizes
LARGE_BATCH = 33  # at which each file is run, if its module's batch has no bound; odd, and beyond what kernels unroll
LARGE_GROWTH = 8  # multiple of the traced size, and one more, at which it is run of other dimensions
CHEAP_SECONDS = 0.7  # of the processor, estimated, of a probe at a large size, all its runs together, if it can be had
MAX_LARGE_SECONDS = 4.0  # of the processor for such a probe at most
MAX_LARGE_BYTES = 1 << 30  # of all values that the module computes in such a run, which are not held at once
MAX_LIMIT_SECONDS = 2.0  # of the processor, estimated, of a run at the last size that the module takes
MAX_FAR_SECONDS = 0.5  # of the processor, estimated, of a run at the largest size that was only tried
MAX_LIMIT_GROWTH = 64  # multiple of the traced size up to which the last size that the module takes is looked for
LARGEST_SIZE = 1 << 40  # up to which branches are looked into where no bound is declared

MAX_REMEDY_SECONDS = 60.0  # exports that took longer are not tried again with fixed sizes, to say what would pass

# --- the last check
WITNESS_LIMIT = 1e-3  # relative difference between two runs of equal bytes; kernels may split their sums differently
