/* upward.h -- a header of the lowest rank that includes one of a higher rank: the include-order
 * check must refuse it, and .ci/run makes sure that it does. */
#include "model/model.h"
