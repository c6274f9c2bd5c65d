/* place.h -- between load.c and place.c only. */
#ifndef MG_MODEL_PLACE_H
#define MG_MODEL_PLACE_H

#include "model/model.h"

/* All weights lie in `memory` of the device now, which the model owns from here on; copies on the host are given back. */
void mg_model_placed(mg_model *m, const mg_device *d, void *memory);

#endif
