/* A C target needs a source file; the layout checks of the header are compiled here. */
#include "control_records.h"
